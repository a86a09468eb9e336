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

_DARK: Colour = (0.0, 0.0, 0.0)
_HALF = np.array(0.5, np.float32)  # faster to compare with than a number of Python

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
    glow: Colour = _DARK
    grain: float = 0.08
    warmth: float = 0.3

    @cached_property
    def values(self) -> tuple[Array, Array]:
        """Its value in each blended map, and how much the textures change it, (8, 1, 1) each.

        The maps are albedo, temperature, emissivity and glow, as in a canvas.
        """
        red, green, blue = self.albedo
        plain = (red, green, blue, self.temperature, self.emissivity, *self.glow)
        grain = self.grain
        relief = (grain * red, grain * green, grain * blue, self.warmth, 0.0, 0.0, 0.0, 0.0)
        both = np.array((plain, relief), np.float32).reshape(2, 8, 1, 1)
        return both[0], both[1]

    @property
    def glows(self) -> bool:
        """Whether it emits light."""
        return self.glow != _DARK


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
        instances: Class and painted pixels of each object.
        ys: (h, 1) rows of the pixel centres.
        xs: (1, w) columns of the pixel centres.
    """

    def __init__(self, size: int, textures: Array):
        self.size = size
        # One array for all blended maps, because many small operations would take longer.
        self._blended = np.zeros((8, size, size), np.float32)
        self.albedo, self.glow = self._blended[:3], self._blended[5:]
        self.temperature, self.emissivity = self._blended[3], self._blended[4]
        # Number of the paint that shows at each pixel, and what was painted then.
        self._shown = np.zeros((size, size), np.intp)
        self._labels, self._depths, self._instances = [0], [1e3], [0]
        self._depth: NDArray[np.float32] | None = None
        self._depth_maps: list[tuple[int, tuple[int, int], Array]] = []
        self.instances: list[tuple[str, int]] = []
        self.texture = textures[0]
        # All albedo channels share one texture, temperature has another, other maps have none.
        self._relief = np.zeros((5, size, size), np.float32)
        self._relief[:3], self._relief[3] = textures[0], textures[1]
        self._current = 0
        # Below this row nothing glows.
        self._glow_end = 0
        centres = np.arange(size, dtype=np.float32) + np.float32(0.5)
        self.ys, self.xs = centres[:, None], centres[None]

    @property
    def label(self) -> NDArray[np.uint8]:
        """(h, w) index in ``CLASSES``."""
        return np.array(self._labels, np.uint8).take(self._shown)

    @property
    def instance(self) -> NDArray[np.uint8]:
        """(h, w) number of the object from 1; 0 where there is none."""
        return np.array(self._instances, np.uint8).take(self._shown)

    @property
    def depth(self) -> NDArray[np.float32]:
        """(h, w) distance in metres; 1000 where nothing was painted."""
        if self._depth is None:
            self._depth = np.array(self._depths, np.float32).take(self._shown)
            for number, (top, left), values in self._depth_maps:
                h, w = values.shape
                window = (slice(top, top + h), slice(left, left + w))
                np.copyto(self._depth[window], values, where=self._shown[window] == number)
        return self._depth

    @contextmanager
    def new_object(self, label: str) -> Iterator[None]:
        """Count everything painted inside the ``with`` block as one object of class ``label``."""
        number = len(self.instances) + 1
        self._current = number
        self.instances.append((label, 0))
        first = len(self._labels)
        yield
        # The number of pixels before anything occludes the object.
        self.instances[number - 1] = (label, int(np.count_nonzero(self._shown >= first)))
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
        value, relief = surface.values
        blended = self._blended[(slice(5), *window)]
        change = relief[:5] * self._relief[(slice(None), *window)]
        change += value[:5]
        if shade is not None:
            change[:3] *= shade
        change -= blended
        change *= alpha
        blended += change
        if surface.glows or top < self._glow_end:
            glow = self._blended[(slice(5, 8), *window)]
            change = value[5:] - glow
            change *= alpha
            glow += change
            if surface.glows:
                self.mark_glowing(top + h)
        self._depth = None
        number = len(self._labels)
        np.copyto(self._shown[window], number, where=alpha > _HALF)
        self._labels.append(_INDEX[label])
        self._instances.append(self._current)
        if isinstance(depth, np.ndarray):
            self._depth_maps.append((number, corner, np.broadcast_to(depth, alpha.shape)))
            depth = 0.0
        self._depths.append(depth)

    def mark_glowing(self, end: int) -> None:
        """Remember that something may glow above a row; below it the glow is zero and stays so."""
        self._glow_end = max(self._glow_end, end)

    def window(
        self, left: float, top: float, right: float, bottom: float
    ) -> tuple[Array, Array, tuple[int, int]] | None:
        """Return (h, 1) rows and (1, w) columns of the pixels of a box and its (top, left).

        None if it is outside.
        """
        x0, y0 = max(0, int(left) - 1), max(0, int(top) - 1)
        x1, y1 = min(self.size, int(right) + 2), min(self.size, int(bottom) + 2)
        if x0 >= x1 or y0 >= y1:
            return None
        return self.ys[y0:y1], self.xs[:, x0:x1], (y0, x0)
