"""Random numbers of one scene, all from one torch.Generator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

T = TypeVar("T")


class Draws:
    """Draws numbers, choices and textures.

    Args:
        generator: The only source of randomness.
    """

    def __init__(self, generator: torch.Generator):
        self._generator = generator
        self._buffer: list[float] = []

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """Return a number in [low, high)."""
        if not self._buffer:
            # One call per number would cost more than the rendering.
            self._buffer = torch.rand(512, generator=self._generator).tolist()
        return low + (high - low) * self._buffer.pop()

    def integer(self, low: int, high: int) -> int:
        """Return a whole number in [low, high], both included."""
        return min(high, low + int(self.uniform() * (high - low + 1)))

    def chance(self, probability: float) -> bool:
        """Return True with a probability."""
        return self.uniform() < probability

    def choice(self, items: Sequence[T]) -> T:
        """Return one of the items."""
        return items[self.integer(0, len(items) - 1)]

    def grid(self, rows: int, columns: int) -> NDArray[np.float32]:
        """Return uniform numbers in [0, 1) as an array."""
        return torch.rand(rows, columns, generator=self._generator).numpy()

    def normal(self, *shape: int) -> NDArray[np.float32]:
        """Return standard normal numbers as an array."""
        return torch.randn(*shape, generator=self._generator).numpy()

    def textures(self, count: int, size: int) -> NDArray[np.float32]:
        """Return (count, size, size) noise of several octaves, zero mean and unit variance."""
        cells, amplitude = 4, 1.0
        total = torch.randn(count, 1, cells, cells, generator=self._generator)
        # Each octave is laid over the enlarged sum of the coarser ones, which is far cheaper than
        # enlarging every octave to the full size.
        while cells < size:
            cells, amplitude = min(2 * cells, size), 0.62 * amplitude
            total = F.interpolate(total, size=(cells, cells), mode="bilinear")
            total += amplitude * torch.randn(count, 1, cells, cells, generator=self._generator)
        total -= total.mean(dim=(2, 3), keepdim=True)
        return (total / total.std(dim=(2, 3), keepdim=True))[:, 0].numpy()
