"""The weather of a scene: air temperature, daylight and sun."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Weather:
    """The weather of a scene.

    Attributes:
        air: Air temperature in degrees Celsius.
        night: Whether it is dark, so that lamps are on.
        sunny: How much the sun has heated the surfaces, 0 to 1.
    """

    air: float
    night: bool
    sunny: float
