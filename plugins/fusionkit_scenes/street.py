"""Objects along a street: lamps, signs, trees and buildings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fusionkit_scenes.canvas import Surface
from fusionkit_scenes.draws import Draws
from fusionkit_scenes.scene import Place, Scene
from fusionkit_scenes.shapes import Brush


def paint_lamp(scene: Scene, draws: Draws, place: Place) -> tuple[float, float] | None:
    """Paint a street lamp; return the (x, y) of the ground below it if it is on, else None."""
    weather = scene.weather
    x, y, height = place.x, place.y, place.height
    pole = Surface((0.22, 0.22, 0.22), weather.air + 3 * weather.sunny, 0.85)
    arm = draws.choice((-1, 1)) * 0.16 * height
    width = max(1.0, 0.022 * height)
    brush = Brush(scene.canvas, "lamp", place.depth)
    brush.line((x, y), (x, y - height), width, pole)
    brush.line((x, y - height), (x + arm, y - 1.02 * height), width, pole)
    on = weather.night and draws.chance(0.85)
    head = Surface(
        (0.6, 0.6, 0.55),
        weather.air + (22 if on else 1),
        0.9,
        glow=(4.2, 3.5, 2.2) if on else (0.0, 0.0, 0.0),
    )
    brush.ellipse(
        x + arm, y - 1.0 * height, max(1.4, 0.05 * height), max(1.0, 0.022 * height), head
    )
    return (x + arm, y) if on else None


def paint_sign(scene: Scene, draws: Draws, place: Place) -> None:
    """Paint a traffic sign; the infrared camera cannot read it, as its paints are equally warm."""
    weather = scene.weather
    x, y, height = place.x, place.y, place.height
    metal = Surface((0.4, 0.4, 0.4), weather.air + 2 * weather.sunny, 0.9, grain=0.0, warmth=0.0)
    brush = Brush(scene.canvas, "sign", place.depth)
    brush.line((x, y), (x, y - 0.75 * height), max(1.0, 0.03 * height), metal)
    rim = replace(metal, albedo=draws.choice(((0.7, 0.05, 0.05), (0.05, 0.15, 0.6))))
    face = replace(metal, albedo=(0.9, 0.9, 0.88))
    ink = replace(metal, albedo=(0.05, 0.05, 0.06))
    r, cy = 0.17 * height, y - 0.83 * height
    if draws.chance(0.5):
        brush.ellipse(x, cy, r, r, rim)
        brush.ellipse(x, cy, 0.72 * r, 0.72 * r, face)
        brush.box(x - 0.4 * r, cy - 0.35 * r, x - 0.1 * r, cy + 0.35 * r, ink)
        brush.ellipse(x + 0.25 * r, cy, 0.25 * r, 0.36 * r, ink, ring=0.16 * r)
    else:
        brush.box(x - 1.4 * r, cy - r, x + 1.4 * r, cy + 0.9 * r, rim, round_by=0.2 * r)
        for row in range(3):
            length = draws.uniform(0.6, 1.1) * r
            brush.box(
                x - length,
                cy - 0.65 * r + 0.5 * row * r,
                x + length,
                cy - 0.45 * r + 0.5 * row * r,
                face,
            )


def paint_tree(scene: Scene, draws: Draws, place: Place) -> None:
    """Paint a tree: a trunk, and overlapping clumps of leaves."""
    weather = scene.weather
    x, y, height = place.x, place.y, place.height
    bark = Surface((0.16, 0.11, 0.07), weather.air + 3 * weather.sunny, 0.95, grain=0.25)
    green = draws.uniform(0.16, 0.30)
    leaves = Surface(
        (0.5 * green, green, 0.32 * green),
        weather.air - 0.5 + weather.sunny,
        0.97,
        grain=0.38,
        warmth=0.9,
    )
    brush = Brush(scene.canvas, "tree", place.depth)
    brush.line((x, y), (x, y - 0.5 * height), 0.07 * height, bark)
    for _ in range(draws.integer(4, 6)):
        cx, cy = x + draws.uniform(-0.22, 0.22) * height, y - draws.uniform(0.5, 0.85) * height
        r = draws.uniform(0.13, 0.24) * height
        tone = draws.uniform(0.75, 1.25)
        red, green, blue = leaves.albedo
        clump = replace(leaves, albedo=(tone * red, tone * green, tone * blue))
        _paint_clump(brush, draws, (cx, cy), r, clump)


def _paint_clump(
    brush: Brush, draws: Draws, centre: tuple[float, float], radius: float, surface: Surface
) -> None:
    """Paint a disc of leaves with a ragged border."""
    (x, y), r = centre, radius
    window = brush.canvas.window(x - r, y - r, x + r, y + r)
    if window is None:
        return
    ys, xs, corner = window
    angle = np.arctan2(ys - y, xs - x)
    a, b = draws.uniform(0, 6.28), draws.uniform(0, 6.28)
    ragged = r * (1 + 0.12 * np.sin(5 * angle + a) + 0.08 * np.sin(11 * angle + b))
    alpha = np.clip(0.5 - (np.hypot(xs - x, ys - y) - ragged), 0, 1).astype(np.float32)
    # The light comes from above.
    shade = (1.15 - 0.35 * (ys - (y - r)) / (2 * r)).astype(np.float32)
    brush.canvas.paint(alpha, corner, surface, brush.label, brush.depth, shade=shade)


def paint_building(
    scene: Scene, draws: Draws, bounds: tuple[float, float, float, float], depth: float
) -> None:
    """Paint a facade with rows of windows; at night some are lit, and all of them leak heat.

    Args:
        scene: The scene to paint into.
        draws: Random numbers.
        bounds: Left, top, right and bottom in pixels.
        depth: Distance from the camera in metres.
    """
    canvas, weather = scene.canvas, scene.weather
    left, top, right, bottom = bounds
    brush = Brush(canvas, "building", depth)
    tone = draws.uniform(0.22, 0.6)
    wall = Surface(
        (tone, tone * draws.uniform(0.82, 1.0), tone * draws.uniform(0.62, 0.95)),
        weather.air + 2 + 7 * weather.sunny * draws.uniform(0.4, 1),
        0.93,
        grain=0.10,
        warmth=0.5,
    )
    brush.box(left, top, right, bottom, wall)
    roof = replace(wall, albedo=(0.2, 0.17, 0.16), temperature=wall.temperature - 5)
    brush.box(left, top, right, top + max(1.5, 0.04 * (bottom - top)), roof)
    window = canvas.window(left, top, right, bottom)
    if window is None:
        return
    ys, xs, corner = window
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
    canvas.paint(inside, corner, glass, brush.label, depth)
    if weather.night:
        rows, columns = int(row.max()) + 1, int(column.max()) + 1
        lit = draws.grid(rows + 1, columns + 1) < 0.3
        on = lit[np.clip(row, 0, rows).astype(int), np.clip(column, 0, columns).astype(int)]
        light = replace(glass, glow=(0.75, 0.6, 0.36))
        canvas.paint(inside * on, corner, light, brush.label, depth)
