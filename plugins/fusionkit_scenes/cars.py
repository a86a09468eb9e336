"""Cars.

Sizes are in pixels; ``x`` is the middle and ``y`` the foot of an object, ``tall`` its height.
"""

from __future__ import annotations

from dataclasses import replace

from fusionkit_scenes.canvas import Canvas, Surface
from fusionkit_scenes.draws import Draws
from fusionkit_scenes.weather import PAINTS, Weather


def car(
    canvas: Canvas,
    draws: Draws,
    weather: Weather,
    x: float,
    y: float,
    tall: float,
    depth: float,
    oncoming: bool,
    glare: bool = False,
) -> None:
    """Paint a car from behind, from the front, or from the side."""
    engine = draws.chance(0.75)
    body_heat = weather.air + 9 * weather.sunny + (2 if engine else 0)
    paint = Surface(draws.choice(PAINTS), body_heat, 0.86, grain=0.03, warmth=0.15)
    bonnet = replace(paint, temperature=body_heat + (10 if engine else 0))
    glass = Surface((0.05, 0.06, 0.07), weather.air + 2 * weather.sunny, 0.80, grain=0.02)
    rubber = Surface((0.04, 0.04, 0.04), weather.air + (14 if engine else 3), 0.95)
    canvas.begin("car")
    sideways = draws.chance(0.25)
    if sideways and not glare:
        _car_from_the_side(canvas, x, y, tall, depth, paint, bonnet, glass, rubber, draws)
    else:
        half = 0.62 * tall
        for side in (-1, 1):
            wx = x + side * 0.74 * half
            canvas.box(
                wx - 0.16 * half,
                y - 0.26 * tall,
                wx + 0.16 * half,
                y,
                rubber,
                "car",
                depth,
                round_by=0.03 * tall,
            )
        canvas.trapezoid(
            y - tall,
            y - 0.52 * tall,
            (x - 0.66 * half, x + 0.66 * half),
            (x - 0.9 * half, x + 0.9 * half),
            paint,
            "car",
            depth,
        )
        canvas.trapezoid(
            y - 0.93 * tall,
            y - 0.56 * tall,
            (x - 0.58 * half, x + 0.58 * half),
            (x - 0.78 * half, x + 0.78 * half),
            glass,
            "car",
            depth,
        )
        canvas.box(
            x - half,
            y - 0.55 * tall,
            x + half,
            y - 0.13 * tall,
            bonnet if oncoming else paint,
            "car",
            depth,
            round_by=0.08 * tall,
        )
        plate = Surface((0.8, 0.8, 0.72), paint.temperature, 0.9)
        canvas.box(
            x - 0.24 * half, y - 0.28 * tall, x + 0.24 * half, y - 0.19 * tall, plate, "car", depth
        )
        if oncoming:
            grille = Surface((0.03, 0.03, 0.03), bonnet.temperature + (12 if engine else 0), 0.95)
            canvas.box(
                x - 0.4 * half,
                y - 0.43 * tall,
                x + 0.4 * half,
                y - 0.31 * tall,
                grille,
                "car",
                depth,
            )
        else:
            exhaust = Surface((0.1, 0.1, 0.1), weather.air + (45 if engine else 2), 0.95)
            canvas.ellipse(
                x + 0.5 * half, y - 0.12 * tall, 0.07 * half, 0.05 * tall, exhaust, "car", depth
            )
        shine = (9.0, 8.6, 7.6) if glare else (2.6, 2.5, 2.2)
        lit = weather.night and engine
        lamp = Surface(
            (0.75, 0.75, 0.72) if oncoming else (0.5, 0.04, 0.04),
            body_heat + (14 if lit and oncoming else 1),
            0.9,
            glow=(shine if oncoming else (1.1, 0.05, 0.04)) if lit or glare else (0.0, 0.0, 0.0),
        )
        for side in (-1, 1):
            canvas.ellipse(
                x + side * 0.76 * half,
                y - 0.42 * tall,
                0.16 * half,
                0.075 * tall,
                lamp,
                "car",
                depth,
            )
    canvas.end()


def _car_from_the_side(
    canvas: Canvas,
    x: float,
    y: float,
    tall: float,
    depth: float,
    paint: Surface,
    bonnet: Surface,
    glass: Surface,
    rubber: Surface,
    draws: Draws,
) -> None:
    half = 1.45 * tall
    facing = draws.choice((-1, 1))
    canvas.trapezoid(
        y - tall,
        y - 0.55 * tall,
        (x - 0.42 * half, x + 0.38 * half),
        (x - 0.68 * half, x + 0.62 * half),
        paint,
        "car",
        depth,
    )
    for left, right in ((-0.38, -0.04), (0.02, 0.36)):
        canvas.trapezoid(
            y - 0.92 * tall,
            y - 0.58 * tall,
            (x + left * half, x + right * half),
            (x + (left - 0.12 * (left < -0.1)) * half, x + (right + 0.12 * (right > 0.1)) * half),
            glass,
            "car",
            depth,
        )
    canvas.box(
        x - half,
        y - 0.6 * tall,
        x + half,
        y - 0.16 * tall,
        paint,
        "car",
        depth,
        round_by=0.14 * tall,
    )
    nose = x + facing * 0.72 * half
    canvas.box(
        nose - 0.25 * half,
        y - 0.58 * tall,
        nose + 0.25 * half,
        y - 0.36 * tall,
        bonnet,
        "car",
        depth,
        round_by=0.1 * tall,
    )
    for side in (-1, 1):
        canvas.ellipse(
            x + side * 0.6 * half, y - 0.2 * tall, 0.2 * tall, 0.2 * tall, rubber, "car", depth
        )
        hub = Surface((0.5, 0.5, 0.5), rubber.temperature - 4, 0.6)
        canvas.ellipse(
            x + side * 0.6 * half, y - 0.2 * tall, 0.1 * tall, 0.1 * tall, hub, "car", depth
        )
