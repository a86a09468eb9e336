"""Times classic fusers against programs of OpenCV for the same picture.

The pictures are compared before anything is timed. OpenCV works in float32, on one thread like us.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

import fusionkit as fk
from benchmarks.speed.measurement import Row, Size, time_in_turn
from fusionkit.interfaces import Backbone

BINOMIAL = np.array([1, 4, 6, 4, 1], np.float32) / 16
SIZES = {
    "small": [(64, 64), (192, 256)],
    "full": [(64, 64), (120, 160), (288, 352), (480, 640), (1728, 2304)],
}
PIXELS = 10**7
"""Pixels that each program fuses of each size, at least, so that small pictures get more rounds."""
TAIL = 1e-3
"""Share of pixels that may differ by more than a grey level: both choose a source at each pixel,
and rounding decides where two activities are equal."""
Grey = NDArray[Any]
"""(h, w) float32."""
Up = Callable[[Grey, tuple[int, int]], Grey]
"""Doubles an image to (width, height)."""


def measure(size: Size) -> list[Row]:
    """Return our time beside OpenCV's for two fusers."""
    cv2.setNumThreads(1)
    rows = []
    for height, width in SIZES[size]:
        sources = images(height, width)
        arrays = [image[0, 0].numpy() for image in sources.values()]
        for name, peer in (("laplacian-pyramid", fuse_pyramids), ("guided-filter", fuse_guided)):
            fuser = fk.build("backbone", name=name)
            exact = partial(fuse_pyramids, up=up_reflected) if peer is fuse_pyramids else peer
            check(name, fuse(fuser, sources), exact(*arrays))
            seconds = time_in_turn(
                {"ours": partial(fuse, fuser, sources), "OpenCV": partial(peer, *arrays)},
                rounds=1 if size == "small" else max(7, PIXELS // (height * width)),
            )
            milliseconds = {who: 1e3 * time for who, time in seconds.items()}
            what = f"{name}, {width}x{height}"
            rows.append(Row(what, milliseconds["ours"], "ms", "OpenCV", milliseconds["OpenCV"]))
    return rows


@torch.inference_mode()
def fuse(fuser: Backbone, sources: dict[str, torch.Tensor]) -> Grey:
    return fuser(sources)[0, 0].numpy()


def check(name: str, ours: Grey, theirs: Grey) -> None:
    share = float((np.abs(ours - theirs) > 1 / 255).mean())
    if share > TAIL:
        raise AssertionError(f"{name}: {100 * share:.2f} % of the pixels differ from OpenCV's")


def images(height: int, width: int) -> dict[str, torch.Tensor]:
    """Return two sources of 8-bit levels, smooth with some grain."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(2, 1, height // 8, width // 8, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")
    grain = 0.05 * torch.randn(2, 1, height, width, generator=generator)
    pixels = ((smooth + grain).clamp(0, 1) * 255).round() / 255
    return {"infrared": pixels[:1], "visible": pixels[1:]}


def up_plain(x: Grey, size: tuple[int, int]) -> Grey:
    return cv2.pyrUp(x, dstsize=size)


def up_reflected(x: Grey, size: tuple[int, int]) -> Grey:
    """Reflect the border as we do; pyrUp repeats it at the bottom and on the right."""
    width, height = size
    around = cv2.copyMakeBorder(x, 2, 2, 2, 2, cv2.BORDER_REFLECT_101)
    return cv2.pyrUp(around)[4 : 4 + height, 4 : 4 + width]


def fuse_pyramids(*sources: Grey, levels: int = 4, up: Up = up_plain) -> Grey:
    details: list[Grey] = []
    current = list(sources)
    for _ in range(levels):
        coarse = [cv2.pyrDown(x) for x in current]
        size = current[0].shape[::-1]
        bands = [x - up(c, size) for x, c in zip(current, coarse, strict=True)]
        first, second = (cv2.sepFilter2D(np.abs(b), -1, BINOMIAL, BINOMIAL) for b in bands)
        details.append(np.where(first >= second, *bands))
        current = coarse
    fused = (current[0] + current[1]) / 2
    for band in reversed(details):
        fused = up(fused, band.shape[::-1]) + band
    return np.clip(fused, 0, 1)


def fuse_guided(*sources: Grey) -> Grey:
    laplacians = [np.abs(cv2.Laplacian(x, -1, ksize=1)) for x in sources]
    first, second = (cv2.GaussianBlur(x, (11, 11), 5) for x in laplacians)
    win = (first >= second).astype(np.float32)
    base = [_box(x, 15) for x in sources]
    details = [x - blurred for x, blurred in zip(sources, base, strict=True)]
    return np.clip(
        _weighted(sources, win, 45, 0.3, base) + _weighted(sources, win, 7, 1e-6, details), 0, 1
    )


def _weighted(
    guides: Sequence[Grey], win: Grey, radius: int, eps: float, parts: Sequence[Grey]
) -> Grey:
    chosen = (win, 1 - win)
    a, b = (np.clip(_guided(g, c, radius, eps), 0, 1) for g, c in zip(guides, chosen, strict=True))
    return (a * parts[0] + b * parts[1]) / np.maximum(a + b, 1e-6)


def _guided(guide: Grey, x: Grey, radius: int, eps: float) -> Grey:
    mean_g, mean_x = _box(guide, radius), _box(x, radius)
    variance = _box(guide * guide, radius) - mean_g * mean_g
    slope = (_box(guide * x, radius) - mean_g * mean_x) / (variance + eps)
    return _box(slope, radius) * guide + _box(mean_x - slope * mean_g, radius)


def _box(x: Grey, radius: int) -> Grey:
    """Return the mean of a window; its part inside the image counts."""
    side = (2 * radius + 1, 2 * radius + 1)
    total = cv2.boxFilter(x, -1, side, normalize=False, borderType=cv2.BORDER_CONSTANT)
    rows, columns = (
        np.minimum(np.arange(n) + radius, n - 1) - np.maximum(np.arange(n) - radius, 0) + 1
        for n in x.shape
    )
    return total * (1 / np.outer(rows, columns)).astype(np.float32)
