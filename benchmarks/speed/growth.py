"""How the time of each piece of work grows with the number of pixels: t ~ pixels ** exponent.

The exponent is the slope of a line through log t over log pixels, by least squares. 1 is linear:
twice the pixels, twice the time. Below 1, there is work that doesn't depend on the size.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

import numpy as np

import fusionkit as fk
from benchmarks.speed.classic import images
from benchmarks.speed.measurement import Row, Size, time_in_turn
from fusionkit.evaluation.equivariance import audit
from fusionkit.evaluation.scores import installed_metrics
from fusionkit.interfaces import Sample

SIDES = {
    "small": [(64, 64), (128, 128)],
    "full": [(128, 160), (256, 320), (512, 640), (1024, 1280)],
}
MODEL, CLASSICS = "emma-ir-vis", ("laplacian-pyramid", "guided-filter")


def measure(size: Size) -> list[Row]:
    logging.getLogger("fusionkit").setLevel(logging.ERROR)
    sides = SIDES[size]
    works: dict[str, dict[int, Callable[[], object]]] = {}
    for side in sides:
        for what, work in _works(*side).items():
            works.setdefault(what, {})[side[0] * side[1]] = work
    rows = []
    for what, by_pixels in works.items():
        seconds = time_in_turn(by_pixels, rounds=2 if size == "small" else 4)
        first, last = min(seconds), max(seconds)
        each = f"{1e6 * seconds[first] / first:.3g} to {1e6 * seconds[last] / last:.3g} s/MP"
        span = f"exponent of pixels, {first / 1e6:.2g} to {last / 1e6:.2g} MP"
        rows.append(Row(f"{what}, {span}: {each}", exponent(seconds), ""))
    return rows


def exponent(seconds: dict[int, float]) -> float:
    """Return the slope of log time over log size."""
    sizes, times = np.log(list(seconds)), np.log(list(seconds.values()))
    return float(np.polyfit(sizes, times, 1)[0])


def _works(height: int, width: int) -> dict[str, Callable[[], object]]:
    pair = images(height, width)
    sample = Sample("pair", {name: image[0] for name, image in pair.items()})
    group = {"reflect": fk.build("transform", name="reflect")}
    model = fk.load(MODEL)
    metrics = installed_metrics("cddfuse")
    fused = ((pair["infrared"] + pair["visible"]) / 2 * 255).round() / 255

    def score() -> None:
        for metric in metrics:
            metric(fused, pair)

    works: dict[str, Callable[[], object]] = {
        f"fuse, {name}": partial(fuser.fuse, sample)
        for name, fuser in {
            MODEL: model,
            **{name: fk.build("backbone", name=name) for name in CLASSICS},
        }.items()
    }
    works["metrics, all of `cddfuse`"] = score
    works[f"audit of {CLASSICS[0]}"] = partial(
        audit, fk.build("backbone", name=CLASSICS[0]), [sample], group, count=2
    )
    return works
