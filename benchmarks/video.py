"""Measures how much fused videos flicker, with and without what keeps them steady.

python -m benchmarks.video ../shared/data/m3svd_video [--frames 30] [--size 240]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

import fusionkit as fk
from fusionkit.evaluation.flicker import measure_flicker
from fusionkit.functional.stretching import stretched
from fusionkit.inference.runner import NetworkRunner
from fusionkit.inference.steady_range import SteadyRange
from fusionkit.interfaces import Backbone, Sample
from fusionkit.io.video import open_frames
from fusionkit.io.windows import apply_window
from fusionkit_scenes.sequence import render_sequence

Grey = NDArray[np.float32]
Moment = Mapping[str, Grey]

PERCENTILES = (0.5, 99.5)
SCENES = {"night": 0, "day": 4, "fog": 1}
"""Rendered sequences: a name -> number of the scene."""


@dataclass(frozen=True)
class Sequence:
    """Luminance of a pair of videos in [0, 1], frame by frame, and the time between frames."""

    name: str
    moments: list[Moment]
    step: float


def luminance(pixels: NDArray[np.generic]) -> Grey:
    found = pixels.astype(np.float32)
    if found.ndim == 3:
        found = found @ np.array([0.299, 0.587, 0.114], np.float32)
    return found


def read(folder: Path, name: str, frames: int, size: int) -> Sequence:
    sources = {
        modality: open_frames(str(folder / short / f"{name}.mp4"))
        for modality, short in (("infrared", "ir"), ("visible", "vi"))
    }
    moments: list[Moment] = []
    for pair in islice(zip(*(s.frames() for s in sources.values()), strict=True), frames):
        images = [luminance(frame.pixels) / 255 for frame in pair]
        h, w = images[0].shape
        smaller = (round(w * size / h / 16) * 16, size)
        images = [
            np.asarray(cv2.resize(i, smaller, interpolation=cv2.INTER_AREA), np.float32)
            for i in images
        ]
        moments.append(dict(zip(sources, images, strict=True)))
    return Sequence(name, moments, 1 / float(sources["visible"].rate))


def render(name: str, index: int, frames: int, size: int) -> Sequence:
    moments: list[Moment] = [
        {modality: luminance(pixels) for modality, pixels in frame.items()}
        for frame in render_sequence(frames, index, size)
    ]
    return Sequence(f"rendered, {name}", moments, 1 / 25)


def windowed(moments: list[Moment], *, steady: bool) -> list[Moment]:
    """Window the infrared as the counts of a raw camera: per frame, or once for all frames."""
    counts = [np.rint(7000 + 1000 * moment["infrared"]).astype(np.uint16) for moment in moments]
    whole = np.percentile(np.stack(counts), PERCENTILES)
    result: list[Moment] = []
    for moment, image in zip(moments, counts, strict=True):
        low, high = whole if steady else np.percentile(image, PERCENTILES)
        result.append({**moment, "infrared": apply_window(image, (float(low), float(high)))})
    return result


def fuse(runner: NetworkRunner, moments: list[Moment]) -> Iterator[torch.Tensor]:
    for number, moment in enumerate(moments):
        images = {name: torch.from_numpy(pixels)[None] for name, pixels in moment.items()}
        yield runner.fuse(Sample(str(number), images))


def finish(fused: list[torch.Tensor], how: str, step: float) -> list[Grey]:
    steady = SteadyRange()
    result = []
    for number, image in enumerate(fused):
        if how == "each frame":
            image = stretched(image, "minmax")
        elif how == "steady":
            low, high = steady.update(number * step, float(image.min()), float(image.max()))
            image = ((image - low) / max(high - low, 1e-12)).clamp(0, 1)
        result.append(255 * image[0].numpy())
    return result


def measure(runner: NetworkRunner, sequence: Sequence) -> list[str]:
    sources = [{m: 255 * p for m, p in moment.items()} for moment in sequence.moments]
    fused = list(fuse(runner, sequence.moments))
    cells = []
    for how in ("none", "each frame", "steady"):
        flicker = measure_flicker(finish(fused, how, sequence.step), sources)
        cells.append(f"{flicker.whole:.3f}, {flicker.local:.3f}")
    for steady in (False, True):
        images = windowed(sequence.moments, steady=steady)
        # Against the sources under one window: a window for each frame is the flicker.
        reference = [
            {m: 255 * p for m, p in moment.items()}
            for moment in windowed(sequence.moments, steady=True)
        ]
        found = [255 * image[0].numpy() for image in fuse(runner, images)]
        flicker = measure_flicker(found, reference)
        cells.append(f"{flicker.whole:.3f}, {flicker.local:.3f}")
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("videos", type=Path, help="folder m3svd_video")
    parser.add_argument("--frames", type=int, default=30)
    parser.add_argument("--size", type=int, default=240, help="height of the frames in pixels")
    parser.add_argument("--models", nargs="+", default=["laplacian-pyramid", "emma-ir-vis"])
    arguments = parser.parse_args()
    sequences = [
        read(arguments.videos, path.stem, arguments.frames, arguments.size)
        for path in sorted((arguments.videos / "ir").glob("*.mp4"))
    ]
    sequences += [
        render(name, index, arguments.frames, arguments.size) for name, index in SCENES.items()
    ]
    print("| video | fuser | no stretch | stretch of each frame | steady stretch |", end="")
    print(" window of each frame | one window |\n|---|---|---:|---:|---:|---:|---:|")
    for model in arguments.models:
        network: Backbone = (
            fk.load(model) if model.startswith("emma") else fk.build("backbone", name=model)
        )
        runner = NetworkRunner(network)
        for sequence in sequences:
            cells = " | ".join(measure(runner, sequence))
            print(f"| {sequence.name} | {model} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
