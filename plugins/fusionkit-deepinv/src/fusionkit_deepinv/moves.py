"""Groups that move pixels: circular shifts, rotations about the centre, reflections."""

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
from fusionkit_deepinv.group import Group, drawn_by
from fusionkit_deepinv.library import deepinv_module


class _Known(Element):
    """One that deepinv inverts by negating its parameters."""

    transform: str

    def _moved(self, image: Tensor, outside: str = "reflection") -> Tensor:
        made = getattr(deepinv_module("deepinv.transform"), self.transform)(**self.options)
        parameters = dict(self.parameters)
        if self.inverted:
            parameters = made.invert_params(parameters)
        return made.transform(image, **parameters)


@dataclass(frozen=True, eq=False)
class Shifted(_Known):
    """A circular shift by whole pixels; see ``Shift``."""

    circular: bool = True
    transform = "Shift"
    exact = True

    def valid(self, size: tuple[int, int]) -> Bool[Tensor, "h w"]:
        """Mark all pixels, or those that did not come around the border."""
        mask = torch.ones(size, dtype=torch.bool)
        if not self.circular:
            for axis, offset in enumerate(self.offsets(size)):
                places = torch.arange(size[axis]) - offset
                inside = (places >= 0) & (places < size[axis])
                mask &= inside[:, None] if axis == 0 else inside
        return mask

    def offsets(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return rows down and columns to the right, between -(side - 1) and side - 1."""
        sign = -1 if self.inverted else 1
        rows, columns = (sign * int(self.parameters[key]) for key in ("y_shift", "x_shift"))
        # Once around is where it was: deepinv draws a shift by the whole side, too.
        return int(math.fmod(rows, size[0])), int(math.fmod(columns, size[1]))


@dataclass(frozen=True, eq=False)
class Rotated(_Known):
    """A rotation about the centre, zeros outside; see ``Rotate``."""

    exact: bool = False
    transform = "Rotate"


@dataclass(frozen=True, eq=False)
class Reflected(_Known):
    """A reflection; see ``Reflect``."""

    transform = "Reflect"
    exact = True

    def valid(self, size: tuple[int, int]) -> Bool[Tensor, "h w"]:
        """Mark all pixels."""
        return torch.ones(size, dtype=torch.bool)


class Shift(Group):
    """Circular shifts by whole pixels, deepinv's ``Shift``.

    Args:
        shift_max: Largest shift as a part of the height and of the width.
        circular: Count the pixels that come around the border as valid; False masks them.
    """

    name = "deepinv-shift"

    def __init__(self, shift_max: Annotated[float, Field(gt=0, le=1)] = 1.0, circular: bool = True):
        super().__init__()
        self.shift_max, self.circular = shift_max, circular

    def order(self, size: tuple[int, int]) -> int:
        """Return how many elements there are beside the identity."""
        if min(size) < 2:  # deepinv refuses them
            return 0
        # From -n to n - 1, once around being none.
        rows, columns = (max(1, min(2 * int(self.shift_max * side), side)) for side in size)
        return rows * columns - 1

    def _draw(self, size: tuple[int, int], generator: Generator) -> Shifted:
        made = deepinv_module(self.library).Shift(shift_max=self.shift_max)
        return Shifted(drawn_by(made, size, generator), {}, circular=self.circular)

    def _key(self, element: Any, size: tuple[int, int]) -> Hashable | None:
        offsets = tuple(
            offset % side for offset, side in zip(element.offsets(size), size, strict=True)
        )
        return offsets if any(offsets) else None


class Rotate(Group):
    """Rotations about the centre by multiples of an angle, deepinv's ``Rotate``.

    With ``multiples: 90`` and ``interpolation: nearest`` pixels move without resampling.

    Args:
        limits: Angles stay below this, in degrees.
        multiples: Angles are multiples of this, in degrees.
        positive: Counter-clockwise only.
        interpolation: How pixels between pixels are made.
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
                f"{self.name}: expected multiples below limits={limits:g}, found {multiples:g}: "
                f"no angle is left but 0"
            )
        self.limits, self.multiples, self.positive = limits, multiples, positive
        self.interpolation = interpolation

    def order(self, size: tuple[int, int]) -> int:
        """Return how many elements there are beside the identity."""
        angles = torch.arange(0, self.limits, self.multiples)
        signed = [angles] if self.positive else [angles, -angles]
        return len({_turn(float(angle)) for angle in torch.cat(signed)} - {0})

    def _draw(self, size: tuple[int, int], generator: Generator) -> Rotated:
        options = {"interpolation_mode": self.interpolation}
        made = deepinv_module(self.library).Rotate(
            limits=self.limits, multiples=self.multiples, positive=self.positive, **options
        )
        parameters = drawn_by(made, size, generator)
        quarters = float(parameters["theta"]) / 90
        # A quarter turn of an oblong cuts pixels off.
        whole = quarters.is_integer() and (quarters % 2 == 0 or size[0] == size[1])
        return Rotated(parameters, options, exact=whole and self.interpolation == "nearest")

    def _key(self, element: Any, size: tuple[int, int]) -> Hashable | None:
        return _turn(float(element.parameters["theta"])) or None


def _turn(degrees: float) -> int:
    """Return the angle in thousandths of a degree, counted from 0 to a full turn."""
    return round(1000 * degrees) % 360_000


class Reflect(Group):
    """The three reflections, in random order: horizontal, vertical, both; deepinv's ``Reflect``.

    Args:
        axes: ``both`` for all three, or only those along the ``width`` or the ``height``.
    """

    name = "deepinv-reflect"

    def __init__(self, axes: Literal["both", "width", "height"] = "both"):
        super().__init__()
        self.axes = axes
        self._dim = {"both": (-2, -1), "width": (-1,), "height": (-2,)}[axes]

    def order(self, size: tuple[int, int]) -> int:
        """Return how many elements there are beside the identity."""
        subsets = (itertools.combinations(self._dim, r) for r in range(1, len(self._dim) + 1))
        return sum(len(list(subset)) for subset in subsets)

    def _draw(self, size: tuple[int, int], generator: Generator) -> Reflected:
        made = deepinv_module(self.library).Reflect(dim=self._dim)
        return Reflected(drawn_by(made, size, generator), {})

    def _key(self, element: Any, size: tuple[int, int]) -> Hashable | None:
        dims = element.parameters["dims"]
        return frozenset(dims[~dims.isnan()].int().tolist()) or None
