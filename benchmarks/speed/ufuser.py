"""U-Fuser and its sensor: time, arithmetic and memory of the faster form and of the plain one.

The plain form is what the official script runs at sizes that are multiples of 8; at other sizes
that script makes four passes over parts of the image.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import fusionkit as fk
from benchmarks.speed.measurement import Row, Size, peak_memory, time_in_turn
from fusionkit.interfaces import Images, Sample
from fusionkit_emma.ufuser import UFuser
from fusionkit_emma.unet import UNet

SIZES = {"small": [(240, 320)], "full": [(480, 640), (960, 1280), (1760, 2336)]}
MODEL = "emma-ir-vis"
PLAIN = "plain form"


def measure(size: Size) -> list[Row]:
    network = fk.load(MODEL, exact=True)
    assert isinstance(network, UFuser)
    fast = network.inference_form()
    rows = []
    first, *_ = SIZES[size]
    with torch.no_grad():
        for place in SIZES[size]:
            rows += _compare(network, fast, place)
        rows.append(_odd(network, first))
        rows += _limits(network, fast, first)
        rows.append(_sensor(first))
    floor = {exact: _memory((16, 16), exact) for exact in (False, True)}
    for height, width in SIZES[size]:
        pixels = height * width / 1e6
        ours, plain = ((_memory((height, width), e) - floor[e]) / pixels for e in (False, True))
        what = f"memory for {width}x{height}, per megapixel"
        rows.append(Row(what, ours, "MB", PLAIN, plain))
    return rows


def _pair(network: UFuser, size: tuple[int, int]) -> Images:
    return {name: torch.rand(1, 1, *size) for name in network.modalities}


def _compare(network: UFuser, fast: torch.nn.Module, size: tuple[int, int]) -> list[Row]:
    pair, pixels = _pair(network, size), size[0] * size[1] / 1e6
    forms = {"fast": lambda: fast(pair), "plain": lambda: network(pair)}
    seconds = time_in_turn(forms, rounds=5 if pixels < 1 else 3)
    what = f"fuse {size[1]}x{size[0]}, per megapixel"
    return [Row(what, seconds["fast"] / pixels, "s", PLAIN, seconds["plain"] / pixels)]


def _odd(network: UFuser, size: tuple[int, int]) -> Row:
    height, width = size[0] + 1, size[1] + 1
    fast = network.inference_form()
    sample = Sample("odd", {name: x[0] for name, x in _pair(network, (height, width)).items()})
    pair = _pair(network, size)
    functions = {
        "fast": lambda: fast.fuse(sample),
        "official": lambda: [network(pair) for _ in range(4)],
    }
    seconds = time_in_turn(functions, rounds=3)
    peer = "four passes of the plain form, as the official script"
    return Row(f"fuse {width}x{height}", seconds["fast"], "s", peer, seconds["official"])


def _limits(network: UFuser, fast: torch.nn.Module, size: tuple[int, int]) -> list[Row]:
    """Compare the rate of arithmetic with that of a plain convolution in the cache."""
    pair = _pair(network, size)
    channels = 32
    x = torch.rand(1, channels, 64, 160).contiguous(memory_format=torch.channels_last)
    weight = torch.rand(channels, channels, 3, 3).contiguous(memory_format=torch.channels_last)

    def convolve() -> None:
        for _ in range(20):
            F.conv2d(x, weight, padding=1)

    functions = {"fast": lambda: fast(pair), "plain": lambda: network(pair), "limit": convolve}
    work = {name: _flops(function) for name, function in functions.items()}
    seconds = time_in_turn(functions, rounds=4)
    rate = {name: work[name] / seconds[name] / 1e9 for name in functions}
    height, width = size
    limit = f"3x3 convolution, {channels} channels, in the cache"
    return [
        Row(
            f"arithmetic of {width}x{height}",
            work["fast"] / 1e9,
            "GFLOP",
            PLAIN,
            work["plain"] / 1e9,
        ),
        Row("rate of the fast form", rate["fast"], "GFLOP/s", limit, rate["limit"], True),
        Row("rate of the plain form", rate["plain"], "GFLOP/s", limit, rate["limit"], True),
    ]


def _flops(function: object) -> int:
    assert callable(function)
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


def _sensor(size: tuple[int, int]) -> Row:
    height, width = (side // 16 * 16 for side in size)
    plain = UNet(width=16).eval()
    fast = plain.inference_form()
    image = torch.rand(1, 1, height, width)
    seconds = time_in_turn({"fast": lambda: fast(image), "plain": lambda: plain(image)})
    what = f"sensor of width 16 on {width}x{height}"
    return Row(what, seconds["fast"] * 1e3, "ms", PLAIN, seconds["plain"] * 1e3)


def _memory(size: tuple[int, int], exact: bool) -> float:
    return peak_memory(
        f"import torch, fusionkit as fk\n"
        f"torch.set_num_threads(1)\n"
        f"network = fk.load({MODEL!r}, exact={exact})\n"
        f"pair = {{name: torch.rand(1, 1, *{size}) for name in network.modalities}}\n"
        f"with torch.no_grad():\n"
        f"    network(pair)\n"
    )
