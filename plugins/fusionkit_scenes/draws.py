"""The random numbers of one scene."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

T = TypeVar("T")


class Draws:
    """Random numbers, choices and textures.

    Args:
        generator: The only source of randomness.
        noise: Another generator for ``normal``, so that the frames of a video differ in their noise
            only; by default ``generator``.

    Example:
        >>> draws = Draws(torch.Generator().manual_seed(0))
        >>> draws.integer(1, 6), draws.choice("abc"), draws.textures(2, 16).shape
        (5, 'b', (2, 16, 16))
    """

    def __init__(self, generator: torch.Generator, noise: torch.Generator | None = None):
        self._generator = generator
        self._noise = noise or generator
        self._buffer: list[float] = []

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """Return a uniform random number in [low, high)."""
        if not self._buffer:
            # A call for each number would take longer than the rendering.
            self._buffer = torch.rand(512, generator=self._generator).tolist()
        return low + (high - low) * self._buffer.pop()

    def integer(self, low: int, high: int) -> int:
        """Return a random integer from ``low`` to ``high``, both included."""
        return min(high, low + int(self.uniform() * (high - low + 1)))

    def chance(self, probability: float) -> bool:
        """Return True with the given probability."""
        return self.uniform() < probability

    def choice(self, items: Sequence[T]) -> T:
        """Return a random item."""
        return items[self.integer(0, len(items) - 1)]

    def grid(self, rows: int, columns: int) -> NDArray[np.float32]:
        """Return a (rows, columns) array of uniform random numbers in [0, 1)."""
        return torch.rand(rows, columns, generator=self._generator).numpy()

    def normal(self, *shape: int) -> NDArray[np.float32]:
        """Return an array of standard normal random numbers."""
        return torch.randn(*shape, generator=self._noise).numpy()

    def textures(self, count: int, size: int) -> NDArray[np.float32]:
        """Return (count, size, size) noise of several octaves with zero mean and unit variance."""
        cells, amplitude = 4, 1.0
        total = torch.randn(count, 1, cells, cells, generator=self._generator)
        # Upsample the sum of all coarser octaves once per octave, which is much faster than
        # upsampling each octave to full size.
        while cells < size:
            cells, amplitude = min(2 * cells, size), 0.62 * amplitude
            total = F.interpolate(total, size=(cells, cells), mode="bilinear")
            total += amplitude * torch.randn(count, 1, cells, cells, generator=self._generator)
        total -= total.mean(dim=(2, 3), keepdim=True)
        return (total / total.std(dim=(2, 3), keepdim=True))[:, 0].numpy()
