"""The latent maps of a scene, and the surfaces that are painted onto them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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
"""Classes of the boxes, by index; the same as in MSRS."""


@dataclass(frozen=True)
class Surface:
    """The optical and thermal properties of a surface.

    Attributes:
        albedo: Diffuse reflectance in red, green and blue, 0 to 1.
        temperature: Temperature in degrees Celsius.
        emissivity: Emissivity in the thermal infrared, 0 to 1; the remainder reflects the sky.
        glow: Emitted light in red, green and blue; 1 is daylight on a white surface.
        grain: Contrast of the albedo texture, relative to the albedo.
        warmth: Contrast of the temperature texture in kelvin.
    """

    albedo: Colour
    temperature: float
    emissivity: float = 0.95
    glow: Colour = (0.0, 0.0, 0.0)
    grain: float = 0.08
    warmth: float = 0.3

    @cached_property
    def column(self) -> Array:
        """Albedo, glow, temperature and emissivity as an (8, 1, 1) array."""
        values = (*self.albedo, *self.glow, self.temperature, self.emissivity)
        return np.array(values, np.float32)[:, None, None]

    @cached_property
    def relief(self) -> Array:
        """How much the textures of the canvas change each value of ``column``, (8, 1, 1)."""
        values = (*(self.grain * c for c in self.albedo), 0, 0, 0, self.warmth, 0)
        return np.array(values, np.float32)[:, None, None]


class Canvas:
    """Square maps of everything that a camera could see of a scene, painted from back to front.

    Coordinates are pixels: x to the right, y down, pixel centres at .5.

    Args:
        size: Height and width of the maps in pixels.
        textures: (2, size, size) noise with unit variance, for albedo and temperature.

    Attributes:
        albedo: (3, h, w) diffuse reflectance.
        glow: (3, h, w) emitted light.
        temperature: (h, w) in degrees Celsius.
        emissivity: (h, w) in the thermal infrared.
        depth: (h, w) distance in metres.
        label: (h, w) index in ``CLASSES``.
        instance: (h, w) number of the object from 1; 0 where there is none.
        instances: Class and painted pixels of each object.
    """

    def __init__(self, size: int, textures: Array):
        self.size = size
        # One array for all blended maps, because many small operations would take longer.
        self._blended = np.zeros((8, size, size), np.float32)
        self.albedo, self.glow = self._blended[:3], self._blended[3:6]
        self.temperature, self.emissivity = self._blended[6], self._blended[7]
        self.depth = np.full((size, size), 1e3, np.float32)
        self.label = np.zeros((size, size), np.uint8)
        self.instance = np.zeros((size, size), np.uint8)
        self.instances: list[tuple[str, int]] = []
        self.texture = textures[0]
        # All albedo channels share one texture, temperature has another, other maps have none.
        self._relief = np.zeros((8, size, size), np.float32)
        self._relief[:3], self._relief[6] = textures[0], textures[1]
        self._current = 0
        ys, xs = np.mgrid[0:size, 0:size].astype(np.float32)
        self.ys, self.xs = ys + 0.5, xs + 0.5

    @contextmanager
    def new_object(self, label: str) -> Iterator[None]:
        """Count everything painted inside the ``with`` block as one object of class ``label``."""
        number = len(self.instances) + 1
        self._current = number
        self.instances.append((label, 0))
        yield
        # The number of pixels before anything occludes the object.
        self.instances[number - 1] = (label, int((self.instance == number).sum()))
        self._current = 0

    def paint(
        self,
        alpha: Array,
        corner: tuple[int, int],
        surface: Surface,
        label: str,
        depth: float | Array,
        *,
        shade: Array | None = None,
    ) -> None:
        """Blend a surface into a window of the maps.

        Args:
            alpha: (h, w) coverage of the pixels of the window, 0 to 1.
            corner: (top, left) of the window.
            surface: Its properties.
            label: Its class, one of ``CLASSES``.
            depth: Its distance in metres.
            shade: (h, w) factor of its albedo; 1 if None.
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

    def window(
        self, left: float, top: float, right: float, bottom: float
    ) -> tuple[Array, Array, tuple[int, int]] | None:
        """Return y and x of the pixels of a box and its (top, left); None if it is outside."""
        x0, y0 = max(0, int(left) - 1), max(0, int(top) - 1)
        x1, y1 = min(self.size, int(right) + 2), min(self.size, int(bottom) + 2)
        if x0 >= x1 or y0 >= y1:
            return None
        return self.ys[y0:y1, x0:x1], self.xs[y0:y1, x0:x1], (y0, x0)
