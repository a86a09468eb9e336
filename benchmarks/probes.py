"""Measures what fusion metrics miss: how hot targets stand out, and whether daylight is pale.

python benchmarks/probes.py emma-ir-vis "{name: saliency, levels: 5, targets: infrared}"

Each method is a model (a run folder, a file or the name of an installed model) or a backbone as in
a configuration. By default the pairs are training pairs of the packaged models, so models may be
tuned by these numbers. The columns, for images in [0, 1]:

person, weakest: labelled persons of every n-th pair of MSRS that has any (`det/`, class 0). The
    warmer half of a box (infrared at its median and above) minus the ring around the box; the mean
    over persons, and the lower quartile.
grey, bright, flat: every n-th pair of RoadScene, if the mean of its visible image is above 100
    of 255. The mean of the fused images; the share of pixels at 200 of 255 and more; the share of
    images with less standard deviation than both sources.
white: the mean of the fused images where the visible one is at 250 of 255 and more.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

import torch
import yaml
from torch import Tensor

import fusionkit as fk
from fusionkit.interfaces import Sample

Fuse = Callable[[Sample], Tensor]
HEADER = f"{'person':>7} {'weakest':>7} {'grey':>7} {'bright':>7} {'flat':>7} {'white':>7}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure hot targets and daylight.")
    parser.add_argument("methods", nargs="*", help="a model, or {name: BACKBONE, ...}")
    parser.add_argument("--every", type=int, default=5, help="take every n-th pair (5)")
    parser.add_argument("--split", default="train", help="split of MSRS: train or test")
    arguments = parser.parse_args()
    data = Path(os.environ["FUSIONKIT_DATA"])
    msrs = fk.build("dataset", name="msrs-detection", root=str(data / "msrs"))
    people = [msrs[k] for k in msrs.splits()[arguments.split]]
    people = [s for s in people if (s.boxes[:, 0] == 0).any()][:: arguments.every]
    road = fk.build(
        "dataset",
        name="paired-folders",
        root=str(data / "roadscene"),
        modalities=("infrared", "visible"),
    )
    days = [road[k] for k in range(0, len(road), arguments.every)]
    days = [sample for sample in days if sample.images["visible"].mean() > 100 / 255]
    print(HEADER)
    for name in ("infrared", "visible"):
        report(name, lambda sample, name=name: sample.images[name], people, days)
    for text in arguments.methods:
        report(text, fuser(text), people, days)


def fuser(text: str) -> Fuse:
    """Return a function that fuses a pair by a model, or by a backbone without weights."""
    if text.startswith("{"):
        return fk.build("backbone", **yaml.safe_load(text)).fuse
    return fk.load(text).fuse


@torch.no_grad()
def report(name: str, fuse: Fuse, people: list[Sample], days: list[Sample]) -> None:
    """Print one row of the table."""
    persons = torch.tensor([c for sample in people for c in contrasts(sample, fuse(sample))])
    grey, bright, flat, white = [], [], [], []
    for sample in days:
        fused = fuse(sample)
        grey.append(fused.mean())
        bright.append((fused >= 200 / 255).float().mean())
        flat.append((fused.std() < min(x.std() for x in sample.images.values())).float())
        white.append(fused[sample.images["visible"] >= 250 / 255])
    columns = [persons.mean(), persons.quantile(0.25)]
    columns += [torch.stack(column).mean() for column in (grey, bright, flat)]
    columns.append(torch.cat(white).mean())
    print(" ".join(f"{column.item():7.3f}" for column in columns), name, flush=True)


def contrasts(sample: Sample, fused: Tensor) -> list[float]:
    """Return how much brighter each labelled person is than its surroundings, in [-1, 1]."""
    infrared, (height, width) = sample.images["infrared"][0], fused.shape[-2:]
    found = []
    assert sample.boxes is not None
    for kind, cx, cy, w, h in sample.boxes.tolist():
        left, right = max(0, int((cx - w / 2) * width)), int((cx + w / 2) * width) + 1
        top, bottom = max(0, int((cy - h / 2) * height)), int((cy + h / 2) * height) + 1
        box = (slice(top, bottom), slice(left, right))
        if kind != 0 or infrared[box].numel() < 8:
            continue
        across, along = max(2, (right - left) // 2), max(2, (bottom - top) // 4)
        ring = torch.zeros(height, width, dtype=torch.bool)
        ring[max(0, top - along) : bottom + along, max(0, left - across) : right + across] = True
        ring[box] = False
        warm = infrared[box] >= infrared[box].median()
        found.append((fused[0][box][warm].mean() - fused[0][ring].mean()).item())
    return found


if __name__ == "__main__":
    main()
