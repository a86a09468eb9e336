"""A range of values that follows the extremes of a video slowly, so that a stretch is steady."""

from __future__ import annotations

import math

__all__ = ["TIME_CONSTANT", "SteadyRange"]

TIME_CONSTANT = 1.0
"""Seconds after which the range has followed 63 % of a sudden change of the extremes."""


class SteadyRange:
    """Smooths the extremes of the frames of a video exponentially over time.

    The range of a frame moves towards the extremes of that frame by the part
    ``1 - exp(-dt / time_constant)``, where ``dt`` is the time since the frame before. The first
    frame gives its own extremes.

    Args:
        time_constant: In seconds.

    Example:
        >>> steady = SteadyRange(time_constant=1.0)
        >>> steady.update(0.0, 0.2, 0.8)
        (0.2, 0.8)
        >>> low, high = steady.update(1.0, 0.0, 0.8)
        >>> round(low, 3), high
        (0.074, 0.8)
    """

    def __init__(self, time_constant: float = TIME_CONSTANT):
        self._constant = time_constant
        self._time: float | None = None
        self._range = (0.0, 1.0)

    def update(self, time: float, low: float, high: float) -> tuple[float, float]:
        """Return the range for a frame.

        Args:
            time: Time of the frame in seconds; not before that of the last one.
            low: Its least value.
            high: Its largest value.
        """
        if self._time is None:
            self._range = low, high
        else:
            part = -math.expm1(-(time - self._time) / self._constant)
            old_low, old_high = self._range
            self._range = old_low + part * (low - old_low), old_high + part * (high - old_high)
        self._time = time
        return self._range
