"""Pedestrians, bicycles and their riders."""

from __future__ import annotations

from dataclasses import replace

from fusionkit_scenes.canvas import Surface
from fusionkit_scenes.draws import Draws
from fusionkit_scenes.palette import CLOTHES, PAINTS
from fusionkit_scenes.scene import Place, Scene
from fusionkit_scenes.shapes import Brush


def paint_person(scene: Scene, draws: Draws, place: Place, *, sitting: bool = False) -> None:
    """Paint a person who stands, walks, or sits on a bicycle."""
    canvas, weather = scene.canvas, scene.weather
    x, y, height = place.x, place.y, place.height
    warm = max(weather.air, 4.0)
    cloth = Surface(draws.choice(CLOTHES), warm + 0.55 * (31 - warm) + draws.uniform(-1, 2), 0.96)
    trousers = replace(cloth, albedo=draws.choice(CLOTHES), temperature=cloth.temperature - 1.0)
    skin = Surface((0.45, 0.32, 0.25), 33.0, 0.98)
    hair = Surface((0.07, 0.05, 0.04), 27.0, 0.96)
    stride = 0.0 if sitting else draws.uniform(-0.13, 0.13) * height
    hip, knee, shoulder = y - 0.48 * height, y - 0.22 * height, y - 0.80 * height
    leg, arm, half, head = 0.085 * height, 0.06 * height, 0.115 * height, 0.075 * height
    brush = Brush(canvas, "person", place.depth)
    with canvas.new_object("person"):
        for side in (-1, 1):
            knee_x = x + side * (stride + 0.03 * height)
            foot = (knee_x - side * 0.2 * stride, y - leg / 2)
            brush.line((x + side * 0.04 * height, hip), (knee_x, knee), leg, trousers)
            brush.line((knee_x, knee), foot, leg, trousers)
        for side in (-1, 1):
            hand_x, hand_y = x + side * (half + 0.03 * height) - stride * side, hip + 0.02 * height
            brush.line((x + side * half * 0.9, shoulder + arm), (hand_x, hand_y - arm), arm, cloth)
            brush.ellipse(hand_x, hand_y - arm / 2, arm / 2, arm / 2, skin)
        brush.box(x - half, shoulder, x + half, hip + 0.03 * height, cloth, round_by=0.05 * height)
        brush.ellipse(x, y - 0.90 * height, head * 0.85, head * 1.15, skin)
        brush.ellipse(x, y - 0.945 * height, head * 0.9, head * 0.65, hair)


def paint_bicycle(scene: Scene, draws: Draws, place: Place) -> None:
    """Paint a bicycle from the side, with or without a rider."""
    canvas, weather = scene.canvas, scene.weather
    x, y, height = place.x, place.y, place.height
    wheel = 0.34 * height
    paint = Surface(draws.choice(PAINTS), weather.air + 4 * weather.sunny, 0.88)
    tyre = Surface((0.05, 0.05, 0.05), weather.air + 3 + 5 * weather.sunny, 0.95)
    ridden = draws.chance(0.6)
    thin = max(0.9, 0.055 * height)
    hub = y - wheel
    back, front, pedal = (x - 0.5 * height, hub), (x + 0.5 * height, hub), (x, hub)
    saddle, bar = (x - 0.2 * height, y - 0.85 * height), (x + 0.38 * height, y - 0.95 * height)
    brush = Brush(canvas, "bicycle", place.depth)
    with canvas.new_object("bicycle"):
        for hub_x, hub_y in (back, front):
            brush.ellipse(hub_x, hub_y, wheel, wheel, tyre, ring=thin * 1.3)
        for start, end in (
            (back, saddle),
            (back, pedal),
            (pedal, saddle),
            (pedal, (bar[0], bar[1] + 0.15 * height)),
            ((saddle[0], saddle[1] + 0.1 * height), (bar[0], bar[1] + 0.1 * height)),
            (front, bar),
            ((bar[0] - 0.08 * height, bar[1]), (bar[0] + 0.08 * height, bar[1])),
        ):
            brush.line(start, end, thin, paint)
    if ridden:
        rider = Place(x - 0.05 * height, y - 0.15 * height, 1.75 * height, place.depth)
        paint_person(scene, draws, rider, sitting=True)
