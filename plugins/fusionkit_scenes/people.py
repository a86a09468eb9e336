"""Persons and bicycles.

Sizes are in pixels; ``x`` is the middle and ``y`` the foot of an object, ``tall`` its height.
"""

from __future__ import annotations

from dataclasses import replace

from fusionkit_scenes.canvas import Canvas, Surface
from fusionkit_scenes.draws import Draws
from fusionkit_scenes.weather import CLOTHES, PAINTS, Weather


def person(
    canvas: Canvas, draws: Draws, weather: Weather, x: float, y: float, tall: float, depth: float
) -> None:
    """Paint somebody who stands or walks."""
    canvas.begin("person")
    _body(canvas, draws, weather, x, y, tall, depth, sitting=False)
    canvas.end()


def _body(
    canvas: Canvas,
    draws: Draws,
    weather: Weather,
    x: float,
    y: float,
    tall: float,
    depth: float,
    sitting: bool,
) -> None:
    warm = max(weather.air, 4.0)
    cloth = Surface(draws.choice(CLOTHES), warm + 0.55 * (31 - warm) + draws.uniform(-1, 2), 0.96)
    trousers = replace(cloth, albedo=draws.choice(CLOTHES), temperature=cloth.temperature - 1.0)
    skin = Surface((0.45, 0.32, 0.25), 33.0, 0.98)
    hair = Surface((0.07, 0.05, 0.04), 27.0, 0.96)
    stride = 0.0 if sitting else draws.uniform(-0.13, 0.13) * tall
    hip, shoulder = y - 0.48 * tall, y - 0.80 * tall
    leg, arm, half = 0.085 * tall, 0.06 * tall, 0.115 * tall
    knee = y - 0.22 * tall
    for side in (-1, 1):
        foot_x = x + side * (stride + 0.03 * tall)
        canvas.stroke(x + side * 0.04 * tall, hip, foot_x, knee, leg, trousers, "person", depth)
        canvas.stroke(
            foot_x, knee, foot_x - side * 0.2 * stride, y - leg / 2, leg, trousers, "person", depth
        )
    for side in (-1, 1):
        hand_x, hand_y = x + side * (half + 0.03 * tall) - stride * side, hip + 0.02 * tall
        canvas.stroke(
            x + side * half * 0.9, shoulder + arm, hand_x, hand_y - arm, arm, cloth, "person", depth
        )
        canvas.ellipse(hand_x, hand_y - arm / 2, arm / 2, arm / 2, skin, "person", depth)
    canvas.box(
        x - half,
        shoulder,
        x + half,
        hip + 0.03 * tall,
        cloth,
        "person",
        depth,
        round_by=0.05 * tall,
    )
    head = 0.075 * tall
    canvas.ellipse(x, y - 0.90 * tall, head * 0.85, head * 1.15, skin, "person", depth)
    canvas.ellipse(x, y - 0.945 * tall, head * 0.9, head * 0.65, hair, "person", depth)


def bicycle(
    canvas: Canvas, draws: Draws, weather: Weather, x: float, y: float, tall: float, depth: float
) -> None:
    """Paint a bicycle from the side, with or without a rider."""
    wheel = 0.34 * tall
    paint = Surface(draws.choice(PAINTS), weather.air + 4 * weather.sunny, 0.88)
    tyre = Surface((0.05, 0.05, 0.05), weather.air + 3 + 5 * weather.sunny, 0.95)
    ridden = draws.chance(0.6)
    canvas.begin("bicycle")
    back, front = x - 0.5 * tall, x + 0.5 * tall
    hub = y - wheel
    thin = max(0.9, 0.055 * tall)
    for hub_x in (back, front):
        canvas.ellipse(hub_x, hub, wheel, wheel, tyre, "bicycle", depth, ring=thin * 1.3)
    saddle, bar, pedal = (x - 0.2 * tall, y - 0.85 * tall), (x + 0.38 * tall, y - 0.95 * tall), x
    for x0, y0, x1, y1 in (
        (back, hub, *saddle),
        (back, hub, pedal, hub),
        (pedal, hub, *saddle),
        (pedal, hub, bar[0], bar[1] + 0.15 * tall),
        (saddle[0], saddle[1] + 0.1 * tall, bar[0], bar[1] + 0.1 * tall),
        (front, hub, *bar),
        (bar[0] - 0.08 * tall, bar[1], bar[0] + 0.08 * tall, bar[1]),
    ):
        canvas.stroke(x0, y0, x1, y1, thin, paint, "bicycle", depth)
    canvas.end()
    if ridden:
        canvas.begin("person")
        _body(
            canvas,
            draws,
            weather,
            x - 0.05 * tall,
            y - 0.15 * tall,
            1.75 * tall,
            depth,
            sitting=True,
        )
        canvas.end()
