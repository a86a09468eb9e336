"""Boxes in other formats than fusionkit's, to find components that read or write those."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

__all__ = ["FORMAT", "READINGS", "WRITINGS", "better_reading", "raster"]

FORMAT = "class, cx, cy, w, h"
"""The format of boxes in fusionkit: center and size, relative to the image."""

READINGS: Mapping[str, Callable[[Tensor], Tensor]] = {
    FORMAT: lambda b: torch.cat([b[:, :2] - b[:, 2:] / 2, b[:, :2] + b[:, 2:] / 2], dim=1),
    "class, x1, y1, x2, y2": lambda b: b,
    "class, x1, y1, w, h": lambda b: torch.cat([b[:, :2], b[:, :2] + b[:, 2:]], dim=1),
    "class, cy, cx, h, w": lambda b: READINGS[FORMAT](b[:, [1, 0, 3, 2]]),
}
"""Format -> function from (n, 4) coordinates in it to left, top, right, bottom."""

WRITINGS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "class, x1, y1, x2, y2": lambda b: READINGS[FORMAT](b),
    "class, x1, y1, w, h": lambda b: torch.cat([b[:, :2] - b[:, 2:] / 2, b[:, 2:]], dim=1),
    "class, cy, cx, h, w": lambda b: b[:, [1, 0, 3, 2]],
}
"""Other format -> function from (n, 4) coordinates in fusionkit's format to it."""


def raster(corners: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the mask (h, w) of the pixels in any of the boxes.

    Args:
        corners: (n, 4) rows left, top, right, bottom, relative to the image.
        size: (h, w) in pixels.

    Example:
        >>> raster(torch.tensor([[0.0, 0.0, 0.5, 1.0]]), (2, 4)).int()
        tensor([[1, 1, 0, 0],
                [1, 1, 0, 0]], dtype=torch.int32)
    """
    height, width = size
    y = ((torch.arange(height) + 0.5) / height)[:, None]
    x = ((torch.arange(width) + 0.5) / width)[None, :]
    mask = torch.zeros(size, dtype=torch.bool)
    for left, top, right, bottom in corners.tolist():
        mask |= (left <= x) & (x < right) & (top <= y) & (y < bottom)
    return mask


def better_reading(boxes: Iterable[tuple[Tensor, Tensor]]) -> str | None:
    """Return the format in which boxes fit what they mark much better than in fusionkit's.

    Args:
        boxes: Pairs of coordinates (n, 4) and the mask (h, w) of what they should mark.

    Returns:
        A format other than :data:`FORMAT`, or None if none fits better.

    Example:
        >>> marked = raster(torch.tensor([[0.1, 0.2, 0.4, 0.9]]), (20, 20))
        >>> better_reading([(torch.tensor([[0.25, 0.55, 0.3, 0.7]]), marked)])
        >>> better_reading([(torch.tensor([[0.1, 0.2, 0.4, 0.9]]), marked)])
        'class, x1, y1, x2, y2'
    """
    pairs = list(boxes)
    fits = {
        name: sum(_overlap(raster(read(b), _size(mask)), mask) for b, mask in pairs)
        / max(1, len(pairs))
        for name, read in READINGS.items()
    }
    best = max(fits, key=lambda name: fits[name])
    return best if fits[best] > fits[FORMAT] + 0.2 else None


def _size(mask: Tensor) -> tuple[int, int]:
    return mask.shape[0], mask.shape[1]


def _overlap(a: Tensor, b: Tensor) -> float:
    """Return intersection over union of two masks."""
    return float((a & b).sum() / (a | b).sum().clamp_min(1))
