"""The latent maps of a scene, and how surfaces are painted into them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
Colour = tuple[float, float, float]

CLASSES = (
    "road",
    "ground",
    "sky",
    "building",
    "tree",
    "lamp",
    "sign",
    "person",
    "bicycle",
    "car",
)
"""Classes of the segmentation mask, by index."""

_INDEX = {name: index for index, name in enumerate(CLASSES)}

BOX_CLASSES = ("person", "bicycle", "car")
"""Classes of the boxes, by index: those of MSRS."""


@dataclass(frozen=True)
class Surface:
    """What a piece of surface is made of.

    Attributes:
        albedo: Diffuse reflectance in red, green, blue, 0 .. 1.
        temperature: In degrees Celsius.
        emissivity: In the thermal infrared, 0 .. 1; the rest reflects the sky.
        glow: Light of its own, in units of the daylight on a white surface.
        grain: Contrast of the texture on its albedo.
        warmth: Contrast of the texture on its temperature, in kelvin.
    """

    albedo: Colour
    temperature: float
    emissivity: float = 0.95
    glow: Colour = (0.0, 0.0, 0.0)
    grain: float = 0.08
    warmth: float = 0.3

    @cached_property
    def column(self) -> Array:
        """All that is blended, as an (8, 1, 1) array: albedo, glow, temperature, emissivity."""
        values = (*self.albedo, *self.glow, self.temperature, self.emissivity)
        return np.array(values, np.float32)[:, None, None]

    @cached_property
    def relief(self) -> Array:
        """How much the canvas's textures change each of ``column``, as an (8, 1, 1) array."""
        values = (*(self.grain * c for c in self.albedo), 0, 0, 0, self.warmth, 0)
        return np.array(values, np.float32)[:, None, None]


class Canvas:
    """Square maps of all that a camera could see of a scene; painted back to front.

    Coordinates are pixels of the map, x to the right, y down, pixel centres at .5.
    """

    def __init__(self, size: int, textures: Array):
        self.size = size
        # One block for all that is blended, as many small operations would cost more.
        self._blended = np.zeros((8, size, size), np.float32)
        self.albedo, self.glow = self._blended[:3], self._blended[3:6]
        self.temperature, self.emissivity = self._blended[6], self._blended[7]
        self.depth = np.full((size, size), 1e3, np.float32)
        self.label = np.zeros((size, size), np.uint8)
        self.instance = np.zeros((size, size), np.uint8)
        self.instances: list[tuple[str, int]] = []
        self.texture = textures[0]
        # By blended map: the albedos share a texture, the temperature has another, the rest none.
        self._relief = np.zeros((8, size, size), np.float32)
        self._relief[:3], self._relief[6] = textures[0], textures[1]
        self._current = 0
        ys, xs = np.mgrid[0:size, 0:size].astype(np.float32)
        self.ys, self.xs = ys + 0.5, xs + 0.5

    def begin(self, label: str) -> None:
        """Start an object of its own; what is painted until ``end`` belongs to it."""
        self._current = len(self.instances) + 1
        self.instances.append((label, 0))

    def end(self) -> None:
        """Finish the object and remember how many pixels it had before anything covers it."""
        label, _ = self.instances[self._current - 1]
        covered = int((self.instance == self._current).sum())
        self.instances[self._current - 1] = (label, covered)
        self._current = 0

    def paint(
        self,
        alpha: Array,
        corner: tuple[int, int],
        surface: Surface,
        label: str,
        depth: float | Array,
        shade: Array | None = None,
    ) -> None:
        """Lay a surface over the maps.

        Args:
            alpha: (h, w) coverage, 0 .. 1, of a window of the maps.
            corner: (top, left) of the window.
            surface: What it is made of.
            label: Its class.
            depth: Distance in metres.
            shade: Factor on its albedo, (h, w).
        """
        top, left = corner
        h, w = alpha.shape
        window = (slice(top, top + h), slice(left, left + w))
        blended = self._blended[(slice(None), *window)]
        change = surface.relief * self._relief[(slice(None), *window)]
        change += surface.column
        if shade is not None:
            change[:3] *= shade
        change -= blended
        change *= alpha
        blended += change
        solid = alpha > 0.5
        np.copyto(self.depth[window], depth, where=solid)
        np.copyto(self.label[window], _INDEX[label], where=solid)
        np.copyto(self.instance[window], self._current, where=solid)

    # Shapes: coverage of a window, anti-aliased over one pixel ----------------------------------

    def window(
        self, left: float, top: float, right: float, bottom: float
    ) -> tuple[Array, Array, tuple[int, int]] | None:
        """Return the y and x of the pixels of a box and its corner, None if it is off the map."""
        x0, y0 = max(0, int(left) - 1), max(0, int(top) - 1)
        x1, y1 = min(self.size, int(right) + 2), min(self.size, int(bottom) + 2)
        if x0 >= x1 or y0 >= y1:
            return None
        return self.ys[y0:y1, x0:x1], self.xs[y0:y1, x0:x1], (y0, x0)

    def box(
        self,
        left: float,
        top: float,
        right: float,
        bottom: float,
        surface: Surface,
        label: str,
        depth: float,
        round_by: float = 0.0,
    ) -> None:
        """Paint a rectangle, its corners rounded by a radius."""
        view = self.window(left, top, right, bottom)
        if view is None:
            return
        ys, xs, corner = view
        dx = np.abs(xs - (left + right) / 2) - (right - left) / 2 + round_by
        dy = np.abs(ys - (top + bottom) / 2) - (bottom - top) / 2 + round_by
        distance = np.hypot(np.maximum(dx, 0), np.maximum(dy, 0)) + np.minimum(
            np.maximum(dx, dy), 0
        )
        self.paint(_cover(distance - round_by), corner, surface, label, depth)

    def ellipse(
        self,
        x: float,
        y: float,
        rx: float,
        ry: float,
        surface: Surface,
        label: str,
        depth: float,
        ring: float = 0.0,
    ) -> None:
        """Paint an ellipse, or a ring of it of a width in pixels."""
        view = self.window(x - rx, y - ry, x + rx, y + ry)
        if view is None:
            return
        ys, xs, corner = view
        rx, ry = max(rx, 0.5), max(ry, 0.5)
        distance = (np.hypot((xs - x) / rx, (ys - y) / ry) - 1) * min(rx, ry)
        if ring:
            distance = np.abs(distance + ring / 2) - ring / 2
        self.paint(_cover(distance), corner, surface, label, depth)

    def stroke(
        self,
        x0: float,
        y0: float,
        x1: float,
        y1: float,
        width: float,
        surface: Surface,
        label: str,
        depth: float,
    ) -> None:
        """Paint a line with round ends."""
        half = max(width / 2, 0.35)
        view = self.window(
            min(x0, x1) - half, min(y0, y1) - half, max(x0, x1) + half, max(y0, y1) + half
        )
        if view is None:
            return
        ys, xs, corner = view
        dx, dy = x1 - x0, y1 - y0
        along = np.clip(((xs - x0) * dx + (ys - y0) * dy) / max(dx * dx + dy * dy, 1e-6), 0, 1)
        distance = np.hypot(xs - x0 - along * dx, ys - y0 - along * dy) - half
        self.paint(_cover(distance), corner, surface, label, depth)

    def trapezoid(
        self,
        top: float,
        bottom: float,
        above: tuple[float, float],
        below: tuple[float, float],
        surface: Surface,
        label: str,
        depth: float,
    ) -> None:
        """Paint a shape with level top and bottom; ``above`` and ``below`` are its left, right."""
        view = self.window(min(above[0], below[0]), top, max(above[1], below[1]), bottom)
        if view is None:
            return
        ys, xs, corner = view
        t = np.clip((ys - top) / max(bottom - top, 1e-3), 0, 1)
        left = above[0] + t * (below[0] - above[0])
        right = above[1] + t * (below[1] - above[1])
        distance = np.maximum.reduce([left - xs, xs - right, top - ys, ys - bottom])
        self.paint(_cover(distance), corner, surface, label, depth)


def _cover(distance: Array) -> Array:
    """Coverage of a pixel by a shape whose border is that far away."""
    return np.minimum(np.maximum(0.5 - distance, 0, dtype=np.float32), 1)
