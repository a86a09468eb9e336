"""Cars, seen from the front, from behind or from the side."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fusionkit_scenes.canvas import Surface
from fusionkit_scenes.draws import Draws
from fusionkit_scenes.palette import PAINTS
from fusionkit_scenes.scene import Place, Scene
from fusionkit_scenes.shapes import Brush
from fusionkit_scenes.weather import Weather


@dataclass(frozen=True)
class _Materials:
    """The surfaces of one car; a car that has just been driven has a warm bonnet and tyres."""

    warm: bool
    body: Surface
    bonnet: Surface
    glass: Surface
    rubber: Surface


def paint_car(
    scene: Scene, draws: Draws, place: Place, *, oncoming: bool, glare: bool = False
) -> None:
    """Paint a car.

    Args:
        scene: The scene to paint into.
        draws: Random numbers.
        place: Where it stands.
        oncoming: Whether it is seen from the front; a quarter of the cars are seen from the side.
        glare: Whether its headlights dazzle the camera; such a car is never seen from the side.
    """
    canvas, weather = scene.canvas, scene.weather
    materials = _draw_materials(draws, weather)
    brush = Brush(canvas, "car", place.depth)
    with canvas.new_object("car"):
        sideways = draws.chance(0.25)
        if sideways and not glare:
            _paint_side(brush, place, materials, facing=draws.choice((-1, 1)))
        else:
            _paint_body(brush, place, materials, weather, oncoming=oncoming)
            lights = _lights(materials, weather, oncoming=oncoming, glare=glare)
            half = 0.62 * place.height
            for side in (-1, 1):
                brush.ellipse(
                    place.x + side * 0.76 * half,
                    place.y - 0.42 * place.height,
                    0.16 * half,
                    0.075 * place.height,
                    lights,
                )


def _draw_materials(draws: Draws, weather: Weather) -> _Materials:
    warm = draws.chance(0.75)
    temperature = weather.air + 9 * weather.sunny + (2 if warm else 0)
    body = Surface(draws.choice(PAINTS), temperature, 0.86, grain=0.03, warmth=0.15)
    return _Materials(
        warm=warm,
        body=body,
        bonnet=replace(body, temperature=temperature + (10 if warm else 0)),
        glass=Surface((0.05, 0.06, 0.07), weather.air + 2 * weather.sunny, 0.80, grain=0.02),
        rubber=Surface((0.04, 0.04, 0.04), weather.air + (14 if warm else 3), 0.95),
    )


def _lights(materials: _Materials, weather: Weather, *, oncoming: bool, glare: bool) -> Surface:
    """Return the surface of the headlights, or of the tail lights."""
    on = weather.night and materials.warm
    headlight = (9.0, 8.6, 7.6) if glare else (2.6, 2.5, 2.2)
    return Surface(
        (0.75, 0.75, 0.72) if oncoming else (0.5, 0.04, 0.04),
        materials.body.temperature + (14 if on and oncoming else 1),
        0.9,
        glow=(headlight if oncoming else (1.1, 0.05, 0.04)) if on or glare else (0.0, 0.0, 0.0),
    )


def _paint_body(
    brush: Brush, place: Place, materials: _Materials, weather: Weather, *, oncoming: bool
) -> None:
    """Paint a car from the front or from behind, without its lights."""
    x, y, height, warm = place.x, place.y, place.height, materials.warm
    half = 0.62 * height
    for side in (-1, 1):
        wheel_x = x + side * 0.74 * half
        brush.box(
            wheel_x - 0.16 * half,
            y - 0.26 * height,
            wheel_x + 0.16 * half,
            y,
            materials.rubber,
            round_by=0.03 * height,
        )
    brush.trapezoid(
        y - height,
        y - 0.52 * height,
        (x - 0.66 * half, x + 0.66 * half),
        (x - 0.9 * half, x + 0.9 * half),
        materials.body,
    )
    brush.trapezoid(
        y - 0.93 * height,
        y - 0.56 * height,
        (x - 0.58 * half, x + 0.58 * half),
        (x - 0.78 * half, x + 0.78 * half),
        materials.glass,
    )
    brush.box(
        x - half,
        y - 0.55 * height,
        x + half,
        y - 0.13 * height,
        materials.bonnet if oncoming else materials.body,
        round_by=0.08 * height,
    )
    plate = Surface((0.8, 0.8, 0.72), materials.body.temperature, 0.9)
    brush.box(x - 0.24 * half, y - 0.28 * height, x + 0.24 * half, y - 0.19 * height, plate)
    if oncoming:
        grille_heat = materials.bonnet.temperature + (12 if warm else 0)
        grille = Surface((0.03, 0.03, 0.03), grille_heat, 0.95)
        brush.box(x - 0.4 * half, y - 0.43 * height, x + 0.4 * half, y - 0.31 * height, grille)
    else:
        exhaust = Surface((0.1, 0.1, 0.1), weather.air + (45 if warm else 2), 0.95)
        brush.ellipse(x + 0.5 * half, y - 0.12 * height, 0.07 * half, 0.05 * height, exhaust)


def _paint_side(brush: Brush, place: Place, materials: _Materials, *, facing: int) -> None:
    """Paint a car from the side; it faces left (-1) or right (1)."""
    x, y, height = place.x, place.y, place.height
    half = 1.45 * height
    brush.trapezoid(
        y - height,
        y - 0.55 * height,
        (x - 0.42 * half, x + 0.38 * half),
        (x - 0.68 * half, x + 0.62 * half),
        materials.body,
    )
    for left, right in ((-0.38, -0.04), (0.02, 0.36)):
        brush.trapezoid(
            y - 0.92 * height,
            y - 0.58 * height,
            (x + left * half, x + right * half),
            (x + (left - 0.12 * (left < -0.1)) * half, x + (right + 0.12 * (right > 0.1)) * half),
            materials.glass,
        )
    brush.box(
        x - half,
        y - 0.6 * height,
        x + half,
        y - 0.16 * height,
        materials.body,
        round_by=0.14 * height,
    )
    nose = x + facing * 0.72 * half
    brush.box(
        nose - 0.25 * half,
        y - 0.58 * height,
        nose + 0.25 * half,
        y - 0.36 * height,
        materials.bonnet,
        round_by=0.1 * height,
    )
    hub = Surface((0.5, 0.5, 0.5), materials.rubber.temperature - 4, 0.6)
    for side in (-1, 1):
        wheel_x, wheel_y = x + side * 0.6 * half, y - 0.2 * height
        brush.ellipse(wheel_x, wheel_y, 0.2 * height, 0.2 * height, materials.rubber)
        brush.ellipse(wheel_x, wheel_y, 0.1 * height, 0.1 * height, hub)
