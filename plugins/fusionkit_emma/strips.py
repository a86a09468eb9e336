"""Strips of rows that stay in the CPU cache, cut from maps with a border of one pixel.

A convolution computes garbage in the place of the border, and the reflection is written over it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["Strip", "bordered", "new_map", "reflect_", "reflect_rows_", "size_of", "strips_of"]

STRIP_BYTES = {"cpu": 3 << 20}
"""Bytes of one activation of a strip; other devices than the CPU get ``OTHER_STRIP_BYTES``."""

OTHER_STRIP_BYTES = 256 << 20

LEAST_ROWS = 32
"""Rows of a strip, at least: fewer would be mostly rows that the next strip computes again."""

HALO = 7
"""Rows above and below a strip that a block needs: one for each 3x3 convolution, and a spare."""


class Strip(NamedTuple):
    """Rows of a map with its border: row r of the image is row r + 1 there."""

    start: int
    """First row of the image to compute."""
    stop: int
    """Row after the last."""
    low: int
    """First row of the map to read."""
    high: int
    """Row of the map after the last to read."""
    top: bool
    """Whether ``low`` is the border of the map."""
    bottom: bool
    """Whether ``high`` is behind the border of the map."""

    def read(self, x: Tensor) -> Tensor:
        """Return the rows of a map to read."""
        return x[:, :, self.low : self.high]

    def inner(self, x: Tensor, rows: int) -> Tensor:
        """Leave rows out where the strip ends inside the image: they lack neighbours."""
        first = 0 if self.top else rows
        return x[:, :, first : x.shape[2] - (0 if self.bottom else rows)]

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Apply a 3x3 convolution; the result has garbage in the place of the border."""
        return self.inner(F.conv2d(x, weight, bias, padding=1), 1)

    def reflect_(self, x: Tensor) -> Tensor:
        """Overwrite the border with the reflection of the pixels."""
        x[..., 0] = x[..., 2]
        x[..., -1] = x[..., -3]
        if self.top:
            x[:, :, 0] = x[:, :, 2]
        if self.bottom:
            x[:, :, -1] = x[:, :, -3]
        return x

    def clear_(self, x: Tensor) -> Tensor:
        """Overwrite the border with zeros."""
        x[..., 0] = 0
        x[..., -1] = 0
        if self.top:
            x[:, :, 0] = 0
        if self.bottom:
            x[:, :, -1] = 0
        return x

    def result(self, x: Tensor) -> Tensor:
        """Return the rows to compute, of a tensor that ``inner`` has cut on the way."""
        lost = self.high - self.low - x.shape[2]
        first = self.low + (0 if self.top else lost // self.open_ends)
        return x[:, :, self.start + 1 - first : self.stop + 1 - first]

    @property
    def open_ends(self) -> int:
        """Number of ends inside the image, at least 1."""
        return max(1, 2 - self.top - self.bottom)


def strips_of(shape: Sequence[int], channels: int, like: Tensor, halo: int = HALO) -> list[Strip]:
    """Divide the rows of an image of shape (..., h, w) into strips of about equal height."""
    h, w = shape[-2:]
    budget = STRIP_BYTES.get(like.device.type, OTHER_STRIP_BYTES)
    row = channels * (w + 2) * like.element_size()
    count = max(1, round(h / max(LEAST_ROWS, budget // row)))
    edges = [h * k // count for k in range(count + 1)]
    return [
        Strip(
            start,
            stop,
            low := max(start + 1 - halo, 0),
            high := min(stop + 1 + halo, h + 2),
            low == 0,
            high == h + 2,
        )
        for start, stop in pairwise(edges)
    ]


def size_of(x: Tensor) -> tuple[int, int]:
    """Return the height and width of the image in a map."""
    return x.shape[-2] - 2, x.shape[-1] - 2


def new_map(like: Tensor, channels: int, size: tuple[int, int]) -> Tensor:
    """Return a map for an image of this size; its values are undefined."""
    shape = (like.shape[0], channels, size[0] + 2, size[1] + 2)
    return torch.empty(
        shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last
    )


def reflect_rows_(x: Tensor) -> Tensor:
    """Overwrite the upper and lower border of a map with the reflection of its rows."""
    x[:, :, 0] = x[:, :, 2]
    x[:, :, -1] = x[:, :, -3]
    return x


def reflect_(x: Tensor) -> Tensor:
    """Overwrite the border of a map with the reflection of its pixels."""
    x[..., 0] = x[..., 2]
    x[..., -1] = x[..., -3]
    return reflect_rows_(x)


def bordered(image: Tensor) -> Tensor:
    """Return the map of an image."""
    padded = F.pad(image, (1, 1, 1, 1), mode="reflect")
    return padded.contiguous(memory_format=torch.channels_last)
