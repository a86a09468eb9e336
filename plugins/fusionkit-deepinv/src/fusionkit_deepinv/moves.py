"""Shifts, rotations about the centre, and reflections."""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Bool
from pydantic import Field
from torch import Generator, Tensor

from fusionkit.errors import FusionkitError
from fusionkit_deepinv.element import Element
from fusionkit_deepinv.group import Group, draw_parameters
from fusionkit_deepinv.library import deepinv_module


class _NegatedInverse(Element):
    """An element that deepinv inverts by negating its parameters."""

    transform: str
    """Class of deepinv.transform."""

    def _transform(self, image: Tensor, outside: str = "reflection") -> Tensor:
        made = getattr(deepinv_module("deepinv.transform"), self.transform)(**self.options)
        parameters = dict(self.parameters)
        if self.inverted:
            parameters = made.invert_params(parameters)
        return made.transform(image, **parameters)


@dataclass(frozen=True, eq=False)
class Shifted(_NegatedInverse):
    """A circular shift by whole pixels; see ``Shift``."""

    circular: bool = True
    transform = "Shift"
    exact = True

    def valid(self, size: tuple[int, int]) -> Bool[Tensor, "h w"]:
        """Mark all pixels, or only those that did not wrap around if ``circular`` is False."""
        mask = torch.ones(size, dtype=torch.bool)
        if not self.circular:
            for axis, offset in enumerate(self.offsets(size)):
                places = torch.arange(size[axis]) - offset
                inside = (places >= 0) & (places < size[axis])
                mask &= inside[:, None] if axis == 0 else inside
        return mask

    def offsets(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the shift (rows down, columns to the right), smaller than the image."""
        sign = -1 if self.inverted else 1
        rows, columns = (sign * int(self.parameters[key]) for key in ("y_shift", "x_shift"))
        # A shift by the whole side, which deepinv also draws, is no shift.
        return int(math.fmod(rows, size[0])), int(math.fmod(columns, size[1]))


@dataclass(frozen=True, eq=False)
class Rotated(_NegatedInverse):
    """A rotation about the centre, with zeros outside the image; see ``Rotate``."""

    exact: bool = False
    transform = "Rotate"


@dataclass(frozen=True, eq=False)
class Reflected(_NegatedInverse):
    """A reflection; see ``Reflect``."""

    transform = "Reflect"
    exact = True

    def valid(self, size: tuple[int, int]) -> Bool[Tensor, "h w"]:
        """Mark all pixels."""
        return torch.ones(size, dtype=torch.bool)


class Shift(Group):
    """Circular shifts by whole pixels (``Shift`` of deepinv).

    Args:
        shift_max: Largest shift as a fraction of the height and width, up to 1.
        circular: Whether pixels that wrap around count as valid; False masks them.

    Example:
        >>> import torch
        >>> import fusionkit as fk
        >>> group = fk.build("transform", name="deepinv-shift")
        >>> element, = group.sample(1, (32, 48), torch.Generator().manual_seed(0))
        >>> tuple(element.apply(torch.rand(2, 1, 32, 48)).shape)
        (2, 1, 32, 48)
        >>> group.order((32, 48))
        1535
    """

    name = "deepinv-shift"

    def __init__(self, shift_max: Annotated[float, Field(gt=0, le=1)] = 1.0, circular: bool = True):
        super().__init__()
        self.shift_max, self.circular = shift_max, circular

    def order(self, size: tuple[int, int]) -> int:
        """Return the number of elements for images of ``size`` (h, w), without the identity."""
        if min(size) < 2:  # deepinv raises for such images
            return 0
        # Shifts by -n to n - 1 pixels, where a shift by a whole side is the identity.
        rows, columns = (max(1, min(2 * int(self.shift_max * side), side)) for side in size)
        return rows * columns - 1

    def _draw(self, size: tuple[int, int], generator: Generator) -> Shifted:
        made = deepinv_module(self.library).Shift(shift_max=self.shift_max)
        return Shifted(draw_parameters(made, size, generator), {}, circular=self.circular)

    def _key(self, element: Any, size: tuple[int, int]) -> Hashable | None:
        offsets = tuple(
            offset % side for offset, side in zip(element.offsets(size), size, strict=True)
        )
        return offsets if any(offsets) else None


class Rotate(Group):
    """Rotations about the centre by multiples of an angle (``Rotate`` of deepinv).

    With ``multiples: 90`` and ``interpolation: nearest``, square images are rotated without
    resampling.

    Args:
        limits: Upper bound of the angles in degrees, exclusive.
        multiples: Step between the angles in degrees.
        positive: Whether to rotate counter-clockwise only.
        interpolation: How to interpolate between pixels.

    Example:
        >>> import torch
        >>> import fusionkit as fk
        >>> group = fk.build("transform", name="deepinv-rotate", multiples=90.0)
        >>> element, = group.sample(1, (32, 48), torch.Generator().manual_seed(0))
        >>> tuple(element.apply(torch.rand(2, 1, 32, 48)).shape)
        (2, 1, 32, 48)
        >>> group.order((32, 48))
        3
    """

    name = "deepinv-rotate"

    def __init__(
        self,
        limits: Annotated[float, Field(gt=0, le=360)] = 360.0,
        multiples: Annotated[float, Field(gt=0)] = 1.0,
        positive: bool = False,
        interpolation: Literal["bilinear", "nearest"] = "bilinear",
    ):
        super().__init__()
        if multiples >= limits:
            raise FusionkitError(
                f"{self.name}: expected multiples below limits={limits:g}, found {multiples:g}, "
                f"which leaves no angle but 0"
            )
        self.limits, self.multiples, self.positive = limits, multiples, positive
        self.interpolation = interpolation

    def order(self, size: tuple[int, int]) -> int:
        """Return the number of elements for images of ``size`` (h, w), without the identity."""
        angles = torch.arange(0, self.limits, self.multiples)
        signed = [angles] if self.positive else [angles, -angles]
        return len({_millidegrees(float(angle)) for angle in torch.cat(signed)} - {0})

    def _draw(self, size: tuple[int, int], generator: Generator) -> Rotated:
        options = {"interpolation_mode": self.interpolation}
        made = deepinv_module(self.library).Rotate(
            limits=self.limits, multiples=self.multiples, positive=self.positive, **options
        )
        parameters = draw_parameters(made, size, generator)
        quarters = float(parameters["theta"]) / 90
        # A quarter turn of an image that is not square loses pixels.
        lossless = quarters.is_integer() and (quarters % 2 == 0 or size[0] == size[1])
        return Rotated(parameters, options, exact=lossless and self.interpolation == "nearest")

    def _key(self, element: Any, size: tuple[int, int]) -> Hashable | None:
        return _millidegrees(float(element.parameters["theta"])) or None


def _millidegrees(degrees: float) -> int:
    """Return the angle in thousandths of a degree, in [0, 360000)."""
    return round(1000 * degrees) % 360_000


class Reflect(Group):
    """Reflections: horizontal, vertical and both at once (``Reflect`` of deepinv).

    Args:
        axes: ``both`` for all three reflections, or only the one along the ``width`` or ``height``.

    Example:
        >>> import torch
        >>> import fusionkit as fk
        >>> group = fk.build("transform", name="deepinv-reflect")
        >>> element, = group.sample(1, (32, 48), torch.Generator().manual_seed(0))
        >>> tuple(element.apply(torch.rand(2, 1, 32, 48)).shape)
        (2, 1, 32, 48)
        >>> group.order((32, 48))
        3
    """

    name = "deepinv-reflect"

    def __init__(self, axes: Literal["both", "width", "height"] = "both"):
        super().__init__()
        self.axes = axes
        self._dim = {"both": (-2, -1), "width": (-1,), "height": (-2,)}[axes]

    def order(self, size: tuple[int, int]) -> int:
        """Return the number of elements for images of ``size`` (h, w), without the identity."""
        subsets = (itertools.combinations(self._dim, r) for r in range(1, len(self._dim) + 1))
        return sum(len(list(subset)) for subset in subsets)

    def _draw(self, size: tuple[int, int], generator: Generator) -> Reflected:
        made = deepinv_module(self.library).Reflect(dim=self._dim)
        return Reflected(draw_parameters(made, size, generator), {})

    def _key(self, element: Any, size: tuple[int, int]) -> Hashable | None:
        dims = element.parameters["dims"]
        return frozenset(dims[~dims.isnan()].int().tolist()) or None
