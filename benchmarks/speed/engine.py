"""The engine from file to file: time at any size, tiles, both cores, and video.

Here one thread works unless a row says otherwise. The pairs are smooth random pictures: what they
show does not change the time.
"""

from __future__ import annotations

import logging
import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

import fusionkit as fk
from benchmarks.speed.classic import images
from benchmarks.speed.measurement import Row, Size, peak_memory, time_in_turn
from fusionkit.inference.folders import FolderOptions, fuse_files
from fusionkit.inference.parallel import cores
from fusionkit.inference.sources import FusionOptions
from fusionkit.inference.video import fuse_video
from fusionkit.interfaces import Backbone
from fusionkit.io.images import read_image, write_image
from fusionkit.io.listing import list_pairs
from fusionkit.io.video import open_frames
from fusionkit.io.video_writer import Timing, write_video

MODEL, CLASSIC = "emma-ir-vis", "laplacian-pyramid"
SIDES = {
    "small": [(192, 256), (384, 512)],
    "full": [(288, 352), (480, 640), (960, 1280), (1728, 2304), (3000, 4000)],
}
TILED = {"small": (448, 640), "full": (1440, 1920)}
PAIRS = {"small": 6, "full": 60}
FRAMES = {"small": 8, "full": 60}
PACE = Fraction(25)
Tile = int | Literal["auto", "off"]


def measure(size: Size) -> list[Row]:
    logging.getLogger("fusionkit").setLevel(logging.ERROR)
    model, classic = fk.load(MODEL), fk.build("backbone", name=CLASSIC)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        with on_cores(1):
            rows = _sizes(model, size, place)
            rows.append(_tiles(model, TILED[size], place))
        rows += [
            _folder(name, fuser, PAIRS[size], place)
            for name, fuser in ((CLASSIC, classic), (MODEL, model))
        ]
        with on_cores(cores()):
            rows.append(_video(classic, FRAMES[size], place))
    return rows


@contextmanager
def on_cores(count: int) -> Iterator[None]:
    """Let this thread, and those that it starts, use this many cores. Linux only."""
    allowed, threads = os.sched_getaffinity(0), torch.get_num_threads()
    os.sched_setaffinity(0, sorted(allowed)[:count])
    torch.set_num_threads(count)  # the engine fuses no more images at a time
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        os.sched_setaffinity(0, allowed)


def write_pair(folder: Path, name: str, size: tuple[int, int]) -> None:
    """Write a pair of 8-bit images into the folders of its modalities."""
    for modality, image in images(*(-(-side // 8) * 8 for side in size)).items():
        (folder / modality).mkdir(parents=True, exist_ok=True)
        pixels = (255 * image[0, 0, : size[0], : size[1]].numpy()).round().astype(np.uint8)
        write_image(folder / modality / f"{name}.png", pixels)


def fuse(model: Backbone, folder: Path, out: Path, tile: Tile = "auto") -> None:
    sources = {name: folder / name for name in ("infrared", "visible")}
    fuse_files(
        model,
        list_pairs(sources),
        out,
        FusionOptions(tile=tile),
        FolderOptions(overwrite=True),
    )


def _sizes(model: Backbone, size: Size, folder: Path) -> list[Row]:
    """Time per megapixel from file to file, beside that of 640x480; memory of the largest."""
    works = {}
    for height, width in SIDES[size]:
        place = folder / f"{width}x{height}"
        write_pair(place, "pair", (height, width))
        works[height, width] = partial(fuse, model, place, place / "fused.png")
    seconds = time_in_turn(works, rounds=3)
    per_megapixel = {size: taken / math.prod(size) * 1e6 for size, taken in seconds.items()}
    reference = SIDES[size][1]
    peer = f"{reference[1]}x{reference[0]}"
    rows = [
        Row(
            f"{MODEL}, {width}x{height}, per megapixel",
            each,
            "s",
            peer,
            per_megapixel[reference],
        )
        for (height, width), each in per_megapixel.items()
        if (height, width) != reference
    ]
    height, width = SIDES[size][-1]
    place = folder / f"{width}x{height}"
    used = peak_memory(
        f"import torch, fusionkit as fk\n"
        f"from pathlib import Path\n"
        f"from benchmarks.speed.engine import fuse\n"
        f"torch.set_num_threads(1)\n"
        f"fuse(fk.load({MODEL!r}), Path({str(place)!r}), Path({str(place / 'again.png')!r}))\n"
    )
    return [*rows, Row(f"memory of {MODEL}, {width}x{height}, all in all", used, "MB")]


def _tiles(model: Backbone, size: tuple[int, int], folder: Path) -> Row:
    """How near an image that is fused in tiles comes to the same image fused whole."""
    height, width = size
    place = folder / "tiles"
    write_pair(place, "pair", size)
    found: list[NDArray[np.float64]] = []
    chosen: tuple[Tile, ...] = ("off", 320 if height < 1000 else 1024)
    for tile in chosen:
        out = place / f"{tile}.png"
        fuse(model, place, out, tile)
        found.append(read_image(out).astype(np.float64))
    error = float(np.mean((found[0] - found[1]) ** 2))
    decibels = 10 * np.log10(255**2 / max(error, 1e-9))
    return Row(f"tiles of {width}x{height} against the whole, 8 bits", float(decibels), "dB")


def _folder(name: str, model: Backbone, pairs: int, folder: Path) -> Row:
    """A folder of pairs on all cores, beside one core."""
    place, size = folder / "pairs", (240, 320)
    if not place.exists():
        for number in range(pairs):
            write_pair(place, f"{number:03d}", size)

    def work(count: int) -> None:
        with on_cores(count):
            fuse(model, place, place / f"out-{count}")

    seconds = time_in_turn({"all": lambda: work(cores()), "one": lambda: work(1)}, rounds=3)
    rates = {name: pairs / taken for name, taken in seconds.items()}
    what = f"{name}, folder of {pairs} pairs of 320x240 on {cores()} cores"
    return Row(what, rates["all"], "images/s", "one core", rates["one"], True)


def _video(fuser: Backbone, frames: int, folder: Path) -> Row:
    """Fusing two videos of 640x480, beside decoding and encoding them with PyAV alone."""
    sources = {}
    generator = np.random.default_rng(0)
    for modality, image in images(480, 640).items():
        sources[modality] = folder / f"{modality}.mp4"
        picture = (255 * image[0, 0].numpy()).astype(np.uint8)
        with write_video(sources[modality], Timing(PACE, 1 / PACE), None) as video:
            for number in range(frames):
                noise = generator.integers(0, 4, picture.shape, np.uint8)
                video.write(np.roll(picture, number, axis=1) // 2 + noise, number, 1)

    def copy() -> None:
        opened = {name: open_frames(str(path)) for name, path in sources.items()}
        pairs = zip(*(source.frames() for source in opened.values()), strict=True)
        with write_video(folder / "copy.mp4", Timing(PACE, 1 / PACE), None) as video:
            for number, (first, _) in enumerate(pairs):
                video.write(first.pixels, number, 1)
        for source in opened.values():
            source.close()

    functions = {
        "fused": lambda: fuse_video(fuser, sources, folder / "fused.mp4"),
        "copied": copy,
    }
    seconds = time_in_turn(functions, rounds=3)
    rates = {name: frames / taken for name, taken in seconds.items()}
    what = f"{CLASSIC}, video of 640x480 on {cores()} cores"
    peer = "decoding both and encoding one"
    return Row(what, rates["fused"], "frames/s", peer, rates["copied"], True)
