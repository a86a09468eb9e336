"""What stands on the road: persons, cars, bicycles, lamps, signs, trees, buildings.

Sizes are in pixels; ``x`` is the middle and ``y`` the foot of an object, ``tall`` its height.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fusionkit_scenes.canvas import Canvas, Colour, Surface
from fusionkit_scenes.draws import Draws


@dataclass(frozen=True)
class Weather:
    """The air around the objects.

    Attributes:
        air: Temperature in degrees Celsius.
        night: Whether lights are on.
        sunny: How much the sun has heated surfaces, 0 .. 1.
    """

    air: float
    night: bool
    sunny: float


CLOTHES: tuple[Colour, ...] = (
    (0.06, 0.06, 0.08),
    (0.10, 0.12, 0.22),
    (0.30, 0.08, 0.07),
    (0.35, 0.33, 0.30),
    (0.08, 0.16, 0.10),
    (0.55, 0.52, 0.48),
    (0.12, 0.20, 0.38),
)
PAINTS: tuple[Colour, ...] = (
    (0.62, 0.62, 0.64),
    (0.05, 0.05, 0.06),
    (0.45, 0.05, 0.05),
    (0.08, 0.14, 0.36),
    (0.30, 0.31, 0.33),
    (0.70, 0.68, 0.60),
    (0.10, 0.26, 0.16),
)


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
    if draws.chance(0.25):
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


def lamp(
    canvas: Canvas, draws: Draws, weather: Weather, x: float, y: float, tall: float, depth: float
) -> tuple[float, float] | None:
    """Paint a street lamp; return where its light is if it is on."""
    pole = Surface((0.22, 0.22, 0.22), weather.air + 3 * weather.sunny, 0.85)
    arm = draws.choice((-1, 1)) * 0.16 * tall
    thick = max(1.0, 0.022 * tall)
    canvas.stroke(x, y, x, y - tall, thick, pole, "lamp", depth)
    canvas.stroke(x, y - tall, x + arm, y - 1.02 * tall, thick, pole, "lamp", depth)
    on = weather.night and draws.chance(0.85)
    head = Surface(
        (0.6, 0.6, 0.55),
        weather.air + (22 if on else 1),
        0.9,
        glow=(4.2, 3.5, 2.2) if on else (0.0, 0.0, 0.0),
    )
    canvas.ellipse(
        x + arm, y - 1.0 * tall, max(1.4, 0.05 * tall), max(1.0, 0.022 * tall), head, "lamp", depth
    )
    return (x + arm, y) if on else None


def sign(
    canvas: Canvas, draws: Draws, weather: Weather, x: float, y: float, tall: float, depth: float
) -> None:
    """Paint a traffic sign: plain in the infrared, as all its paints have one temperature."""
    metal = Surface((0.4, 0.4, 0.4), weather.air + 2 * weather.sunny, 0.9, grain=0.0, warmth=0.0)
    canvas.stroke(x, y, x, y - 0.75 * tall, max(1.0, 0.03 * tall), metal, "sign", depth)
    rim = replace(metal, albedo=draws.choice(((0.7, 0.05, 0.05), (0.05, 0.15, 0.6))))
    face = replace(metal, albedo=(0.9, 0.9, 0.88))
    ink = replace(metal, albedo=(0.05, 0.05, 0.06))
    r, cy = 0.17 * tall, y - 0.83 * tall
    if draws.chance(0.5):
        canvas.ellipse(x, cy, r, r, rim, "sign", depth)
        canvas.ellipse(x, cy, 0.72 * r, 0.72 * r, face, "sign", depth)
        canvas.box(x - 0.4 * r, cy - 0.35 * r, x - 0.1 * r, cy + 0.35 * r, ink, "sign", depth)
        canvas.ellipse(x + 0.25 * r, cy, 0.25 * r, 0.36 * r, ink, "sign", depth, ring=0.16 * r)
    else:
        canvas.box(
            x - 1.4 * r, cy - r, x + 1.4 * r, cy + 0.9 * r, rim, "sign", depth, round_by=0.2 * r
        )
        for row in range(3):
            length = draws.uniform(0.6, 1.1) * r
            canvas.box(
                x - length,
                cy - 0.65 * r + 0.5 * row * r,
                x + length,
                cy - 0.45 * r + 0.5 * row * r,
                face,
                "sign",
                depth,
            )


def tree(
    canvas: Canvas, draws: Draws, weather: Weather, x: float, y: float, tall: float, depth: float
) -> None:
    """Paint a tree: trunk, and overlapping clumps of leaves."""
    bark = Surface((0.16, 0.11, 0.07), weather.air + 3 * weather.sunny, 0.95, grain=0.25)
    green = draws.uniform(0.16, 0.30)
    leaves = Surface(
        (0.5 * green, green, 0.32 * green),
        weather.air - 0.5 + weather.sunny,
        0.97,
        grain=0.38,
        warmth=0.9,
    )
    canvas.stroke(x, y, x, y - 0.5 * tall, 0.07 * tall, bark, "tree", depth)
    for _ in range(draws.integer(4, 6)):
        cx, cy = x + draws.uniform(-0.22, 0.22) * tall, y - draws.uniform(0.5, 0.85) * tall
        r = draws.uniform(0.13, 0.24) * tall
        tone = draws.uniform(0.75, 1.25)
        clump = replace(leaves, albedo=tuple(tone * c for c in leaves.albedo))  # type: ignore[arg-type]
        _leaves(canvas, draws, cx, cy, r, clump, depth)


def _leaves(
    canvas: Canvas, draws: Draws, x: float, y: float, r: float, surface: Surface, depth: float
) -> None:
    view = canvas.window(x - r, y - r, x + r, y + r)
    if view is None:
        return
    ys, xs, corner = view
    angle = np.arctan2(ys - y, xs - x)
    a, b = draws.uniform(0, 6.28), draws.uniform(0, 6.28)
    ragged = r * (1 + 0.12 * np.sin(5 * angle + a) + 0.08 * np.sin(11 * angle + b))
    alpha = np.clip(0.5 - (np.hypot(xs - x, ys - y) - ragged), 0, 1).astype(np.float32)
    # Lit from above.
    shade = (1.15 - 0.35 * (ys - (y - r)) / (2 * r)).astype(np.float32)
    canvas.paint(alpha, corner, surface, "tree", depth, shade)


def building(
    canvas: Canvas,
    draws: Draws,
    weather: Weather,
    left: float,
    right: float,
    top: float,
    bottom: float,
    depth: float,
) -> None:
    """Paint a front with rows of windows; at night some are lit, and all leak some heat."""
    tone = draws.uniform(0.22, 0.6)
    wall = Surface(
        (tone, tone * draws.uniform(0.82, 1.0), tone * draws.uniform(0.62, 0.95)),
        weather.air + 2 + 7 * weather.sunny * draws.uniform(0.4, 1),
        0.93,
        grain=0.10,
        warmth=0.5,
    )
    canvas.box(left, top, right, bottom, wall, "building", depth)
    roof = replace(wall, albedo=(0.2, 0.17, 0.16), temperature=wall.temperature - 5)
    canvas.box(left, top, right, top + max(1.5, 0.04 * (bottom - top)), roof, "building", depth)
    view = canvas.window(left, top, right, bottom)
    if view is None:
        return
    ys, xs, corner = view
    storey = draws.uniform(0.055, 0.09) * canvas.size
    bay = storey * draws.uniform(0.7, 1.0)
    row, column = (ys - top) / storey, (xs - left) / bay
    inside = (
        (np.abs(row % 1 - 0.55) < 0.27)
        & (np.abs(column % 1 - 0.5) < 0.27)
        & (row > 0.3)
        & (ys < bottom - 0.4 * storey)
        & (xs > left + 0.2 * bay)
        & (xs < right - 0.2 * bay)
        & (ys > top + 2)
    ).astype(np.float32)
    leak = 4.0 if weather.night else -1.5
    glass = Surface((0.10, 0.12, 0.15), wall.temperature + leak, 0.85, grain=0.05)
    canvas.paint(inside, corner, glass, "building", depth)
    if weather.night:
        rows, columns = int(row.max()) + 1, int(column.max()) + 1
        lit = draws.grid(rows + 1, columns + 1) < 0.3
        on = lit[np.clip(row, 0, rows).astype(int), np.clip(column, 0, columns).astype(int)]
        light = replace(glass, glow=(0.75, 0.6, 0.36))
        canvas.paint(inside * on, corner, light, "building", depth)
