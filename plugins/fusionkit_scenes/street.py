"""What lines a street: lamps, signs, trees, buildings.

Sizes are in pixels; ``x`` is the middle and ``y`` the foot of an object, ``tall`` its height.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fusionkit_scenes.canvas import Canvas, Surface
from fusionkit_scenes.draws import Draws
from fusionkit_scenes.weather import Weather


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
