"""A scene, and the place of an object in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from fusionkit_scenes.canvas import Canvas
from fusionkit_scenes.weather import Weather

Condition = Literal["day", "night", "fog", "glare"]
CONDITIONS: tuple[Condition, ...] = ("day", "night", "fog", "glare")
"""``glare`` is a night with an oncoming car whose headlights dazzle the camera."""


@dataclass
class Scene:
    """The latent maps of a scene, and what the cameras must know besides.

    Attributes:
        condition: One of ``CONDITIONS``.
        canvas: The latent maps.
        weather: The weather.
        horizon: Row of the horizon in pixels.
        lamps: (x, y) in pixels of the ground below each street lamp that is on.
        fog: Extinction coefficient of the air, per metre.
    """

    condition: Condition
    canvas: Canvas
    weather: Weather
    horizon: float
    lamps: list[tuple[float, float]] = field(default_factory=list)
    fog: float = 0.0


@dataclass(frozen=True)
class Place:
    """Where an object stands, and how large it appears.

    Attributes:
        x: Column of its centre in pixels.
        y: Row of its foot in pixels.
        height: Its height in pixels.
        depth: Its distance from the camera in metres.
    """

    x: float
    y: float
    height: float
    depth: float
