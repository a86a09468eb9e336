"""The layout of a road scene, painted from back to front: sky, skyline, ground, objects."""

from __future__ import annotations

import numpy as np

from fusionkit_scenes.canvas import Array, Canvas, Surface
from fusionkit_scenes.cars import paint_car
from fusionkit_scenes.draws import Draws
from fusionkit_scenes.people import paint_bicycle, paint_person
from fusionkit_scenes.scene import CONDITIONS, Place, Scene
from fusionkit_scenes.street import paint_building, paint_lamp, paint_sign, paint_tree
from fusionkit_scenes.weather import Weather

CAR_SPEED, WALKING_SPEED = 6.0, 1.4
"""Metres per second of oncoming cars and of people; other cars gain half that speed."""
_NEAREST = 4.5
"""Distance in metres at which an oncoming car stops, so that it stays in the picture."""


def draw_scene(draws: Draws, size: int, time: float = 0.0) -> Scene:
    """Draw and paint a road scene.

    Args:
        draws: Random numbers; they decide everything in the scene.
        size: Height and width in pixels.
        time: Seconds since the moment of the scene; cars drive and people walk with it.

    Example:
        >>> import torch
        >>> scene = draw_scene(Draws(torch.Generator().manual_seed(1)), size=64)
        >>> scene.condition, scene.canvas.albedo.shape
        ('fog', (3, 64, 64))
    """
    condition = draws.choice(CONDITIONS)
    night = condition in ("night", "glare") or (condition == "fog" and draws.chance(0.3))
    weather = Weather(
        air=draws.uniform(2, 14) if night else draws.uniform(8, 24),
        night=night,
        sunny=0.0 if night or condition == "fog" else draws.uniform(0.4, 1),
    )
    canvas = Canvas(size, draws.textures(2, size))
    horizon = draws.uniform(0.36, 0.50) * size
    scene = Scene(condition, canvas, weather, horizon)
    scene.fog = draws.uniform(0.022, 0.05) if condition == "fog" else draws.uniform(0.0005, 0.003)
    vanishing = draws.uniform(0.35, 0.65) * size
    _paint_sky(scene, draws)
    _paint_skyline(scene, draws, vanishing)
    road = _paint_ground(scene, draws, vanishing)
    _paint_objects(scene, draws, vanishing, road, time)
    np.clip(canvas.albedo, 0.01, 0.98, out=canvas.albedo)
    return scene


def _paint_sky(scene: Scene, draws: Draws) -> None:
    canvas, size = scene.canvas, scene.canvas.size
    rows = int(scene.horizon) + 2
    height = np.linspace(1, 0, rows, dtype=np.float32)[:, None]
    clouds = np.clip(0.5 + 0.6 * canvas.texture[:rows], 0, 1) * draws.uniform(0.1, 1.0)
    if scene.weather.night:
        low, high, white = (0.02, 0.022, 0.03), (0.006, 0.007, 0.014), 0.02
    elif scene.condition == "fog":
        low, high, white = (0.62, 0.63, 0.65), (0.55, 0.56, 0.60), 0.62
    else:
        low, high, white = (0.62, 0.72, 0.86), (0.22, 0.42, 0.80), 0.92
    canvas.mark_glowing(rows)
    top = np.ones((rows, size), np.float32)
    canvas.paint(
        top, (0, 0), Surface((0.01, 0.01, 0.01), -20.0, 1.0, grain=0, warmth=0), "sky", 2e3
    )
    for channel in range(3):
        clear = low[channel] + (high[channel] - low[channel]) * height
        canvas.glow[channel, :rows] = clear + (white - clear) * clouds
    # The clear sky is much colder than clouds; it gets warmer towards the horizon.
    cold = scene.weather.air - draws.uniform(18, 30)
    canvas.temperature[:rows] = cold + 14 * (1 - height) + 9 * clouds


def _paint_skyline(scene: Scene, draws: Draws, vanishing: float) -> None:
    """Paint buildings and trees beside the road, the farthest first."""
    size, horizon = scene.canvas.size, scene.horizon
    for step in range(draws.integer(3, 5)):
        near = step / 5
        depth = 140 * (1 - near) + 22
        foot = horizon + 0.02 * size + 0.10 * near * size
        side = draws.choice((-1, 1))
        gap = (0.05 + 0.28 * near) * size
        if draws.chance(0.6):
            wide = draws.uniform(0.16, 0.34) * (0.6 + near) * size
            tall = draws.uniform(0.16, 0.34) * (0.6 + near) * size
            inner = vanishing + side * gap
            outer = inner + side * wide
            left, right = min(inner, outer), max(inner, outer)
            paint_building(scene, draws, (left, foot - tall, right, foot), depth)
        else:
            x = vanishing + side * (gap + draws.uniform(0.02, 0.3) * size)
            tall = draws.uniform(0.16, 0.30) * (0.6 + near) * size
            paint_tree(scene, draws, Place(x, foot, tall, depth))


def _paint_ground(scene: Scene, draws: Draws, vanishing: float) -> tuple[float, float]:
    """Paint ground, road and road markings.

    Returns:
        Columns of the left and right edge of the road at the bottom of the image.
    """
    canvas, size, weather = scene.canvas, scene.canvas.size, scene.weather
    first = int(scene.horizon)
    ys, xs = canvas.ys[first:], canvas.xs
    down = np.maximum(ys - scene.horizon, 0.5) / (size - scene.horizon)
    depth = np.minimum(4.0 / down, 900).astype(np.float32)
    everywhere = np.ones((size - first, size), np.float32)
    grass = draws.chance(0.5)
    verge = Surface(
        (0.16, 0.24, 0.10) if grass else (0.33, 0.31, 0.29),
        weather.air + (1 if grass else 3) + 4 * weather.sunny,
        0.97 if grass else 0.94,
        grain=0.30 if grass else 0.12,
        warmth=0.9 if grass else 0.5,
    )
    canvas.paint(everywhere, (first, 0), verge, "ground", depth)
    left, right = draws.uniform(-0.35, 0.12) * size, draws.uniform(0.88, 1.35) * size
    tone = draws.uniform(0.10, 0.20)
    asphalt = Surface(
        (tone, tone, tone * 1.05),
        weather.air + 3 + 10 * weather.sunny,
        0.95,
        grain=0.14,
        warmth=0.5,
    )
    edge_left, edge_right = (vanishing + down * (edge - vanishing) for edge in (left, right))
    inside = np.clip(np.minimum(xs - edge_left, edge_right - xs) + 0.5, 0, 1)
    canvas.paint(inside.astype(np.float32), (first, 0), asphalt, "road", depth)
    white = Surface((0.82, 0.82, 0.78), asphalt.temperature - 0.4, 0.95, grain=0.10, warmth=0.5)
    across = (xs - edge_left) / np.maximum(edge_right - edge_left, 1e-3)
    phase = draws.uniform(0, 9)
    dashed = ((depth + phase) % 9 < 4.5).astype(np.float32)
    # Coverage relative to the width of the line, so that distant lines fade out.
    width = np.maximum(edge_right - edge_left, 1e-3)
    markings = np.zeros_like(across)
    for place, wide, pattern in ((0.04, 0.012, 1.0), (0.96, 0.012, 1.0), (0.5, 0.014, dashed)):
        line = np.minimum(np.maximum((wide - np.abs(across - place)) * width + 0.5, 0), 1)
        line *= np.minimum(1, 2.5 * wide * width) * pattern
        np.maximum(markings, line, out=markings)
    if draws.chance(0.3):
        start = draws.uniform(0.35, 0.6)
        stripes = ((across * 14) % 1 < 0.5) & (down > start) & (down < start + 0.16)
        stripes &= (across > 0.06) & (across < 0.94)
        markings[stripes] = 1
    canvas.paint(markings, (first, 0), white, "road", depth)
    return left, right


def _paint_objects(
    scene: Scene, draws: Draws, vanishing: float, road: tuple[float, float], time: float
) -> None:
    """Paint vehicles, people, lamps and signs on the ground, the farthest first."""
    size = scene.canvas.size
    kinds = ["car"] * draws.integer(1, 3) + ["person"] * draws.integer(1, 4)
    kinds += ["bicycle"] * draws.integer(0, 2) + ["lamp"] * draws.integer(1, 3)
    kinds += ["sign"] * draws.integer(0, 2)
    placed = sorted((draws.uniform(0.10, 0.80) ** 1.3, kind) for kind in kinds)
    glare = scene.condition == "glare"
    if glare:
        # The glaring car comes last, so that nothing hides it, and is near enough to dazzle.
        placed.remove(max(place for place in placed if place[1] == "car"))
        placed.append((max(placed[-1][0], 0.25), "car"))
    for number, (down, kind) in enumerate(placed, start=1):
        y = scene.horizon + down * (size - scene.horizon)
        depth = 4.0 / max(down, 0.02)
        # Pixels per metre at that depth; the camera is 1.5 m above the ground.
        metre = (y - scene.horizon) / 1.5
        left, right = (vanishing + down * (edge - vanishing) for edge in road)
        middle = (left + right) / 2
        if kind == "car":
            glaring = glare and number == len(placed)
            oncoming = glaring or draws.chance(0.5)
            lane = (left + middle) / 2 if oncoming else (right + middle) / 2
            x = lane + draws.uniform(-0.1, 0.1) * (right - left)
            if glaring:
                x = min(max(x, 0.15 * size), 0.85 * size)
            place = _drive(Place(x, y, 1.5 * metre, depth), scene, vanishing, oncoming, time)
            paint_car(scene, draws, place, oncoming=oncoming, glare=glaring)
        elif kind == "person":
            beside = draws.chance(0.65)
            x = draws.choice((left, right)) if beside else draws.uniform(left, right)
            x = min(max(x + draws.uniform(-0.6, 0.6) * metre, 0.05 * size), 0.95 * size)
            walked = (1 if number % 2 else -1) * WALKING_SPEED * time * metre
            place = Place(x + walked, y, draws.uniform(1.55, 1.9) * metre, depth)
            paint_person(scene, draws, place)
        elif kind == "bicycle":
            x = min(max(draws.uniform(left, right), 0.08 * size), 0.92 * size)
            paint_bicycle(scene, draws, Place(x, y, 1.05 * metre, depth))
        elif kind == "lamp":
            x = draws.choice((left - 0.8 * metre, right + 0.8 * metre))
            lit = paint_lamp(scene, draws, Place(x, y, 6.5 * metre, depth))
            if lit is not None:
                scene.lamps.append(lit)
        else:
            x = draws.choice((left - 0.6 * metre, right + 0.6 * metre))
            paint_sign(scene, draws, Place(x, y, 2.8 * metre, depth))


def _drive(place: Place, scene: Scene, vanishing: float, oncoming: bool, time: float) -> Place:
    """Return where a car is after some seconds, on its line to the vanishing point."""
    speed = -CAR_SPEED if oncoming else CAR_SPEED / 2
    depth = max(place.depth + speed * time, min(_NEAREST, place.depth))
    nearer = place.depth / depth
    return Place(
        vanishing + (place.x - vanishing) * nearer,
        scene.horizon + (place.y - scene.horizon) * nearer,
        place.height * nearer,
        depth,
    )


def illumination(scene: Scene) -> Array:
    """Return the (3, h, w) light that falls on the surfaces; 1 is daylight."""
    canvas, size = scene.canvas, scene.canvas.size
    if not scene.weather.night:
        level = 0.75 if scene.condition == "fog" else 1.0
        return np.full((3, size, size), level, np.float32) * np.float32(0.9)
    light = np.empty((3, size, size), np.float32)
    light[:] = np.array([0.020, 0.021, 0.028], np.float32)[:, None, None]
    # The headlights of the car that carries the cameras: brightest in the middle and close by.
    beam = np.exp(-(((canvas.xs / size - 0.5) / 0.34) ** 2))
    near = 1 / (1 + (canvas.depth / 14) ** 2)
    beam = beam * (near * (canvas.ys > scene.horizon - 0.06 * size))
    light += np.array([0.62, 0.60, 0.52], np.float32)[:, None, None] * beam
    for x, y in scene.lamps:
        reach = max(0.6 * (y - scene.horizon), 0.05 * size)
        pool = np.exp(
            -(((canvas.xs - x) / (1.4 * reach)) ** 2) - (((canvas.ys - y) / (0.7 * reach)) ** 2)
        )
        light += np.array([0.50, 0.40, 0.24], np.float32)[:, None, None] * pool
    return light
