"""U-Fuser: time and memory of fusing one pair."""

from __future__ import annotations

import torch

from benchmarks.speed.measurement import Row, Size, peak_memory, time_in_turn
from fusionkit_emma.ufuser import UFuser

SIZES = {"small": [(64, 96)], "full": [(480, 640), (960, 1280), (1760, 2336)]}


def measure(size: Size) -> list[Row]:
    network = UFuser().eval()
    rows = []
    for height, width in SIZES[size]:
        pixels = height * width / 1e6
        pair = {name: torch.rand(1, 1, height, width) for name in network.modalities}
        with torch.inference_mode():
            seconds = time_in_turn({"plain": lambda pair=pair: network(pair)}, rounds=2)
        what = f"fuse {width}x{height}, per megapixel"
        rows.append(Row(what, seconds["plain"] / pixels, "s"))
        used = peak_memory(FUSE.format(height, width)) - peak_memory(FUSE.format(16, 16))
        rows.append(Row(f"peak memory at {width}x{height}, per megapixel", used / pixels, "MB"))
    return rows


FUSE = """
import torch
from fusionkit_emma.ufuser import UFuser
torch.set_num_threads(1)
network = UFuser().eval()
pair = {{name: torch.rand(1, 1, {}, {}) for name in network.modalities}}
with torch.inference_mode():
    network(pair)
"""
