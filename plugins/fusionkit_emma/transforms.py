"""The transform groups of EMMA (circular shifts, rotations, reflections), and the group D4."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Float
from kornia.geometry.transform import rotate
from pydantic import Field
from torch import Generator, Tensor

from fusionkit.errors import FusionkitError
from fusionkit.functional.dihedral import D4, REFLECTIONS, dihedral
from fusionkit.interfaces import TransformElement, TransformGroup


@dataclass(frozen=True)
class Shifted(TransformElement):
    """A circular shift by whole pixels.

    Attributes:
        rows: Pixels down.
        columns: Pixels to the right.
        circular: Whether pixels that are wrapped around the border count as valid.
    """

    rows: int
    columns: int
    circular: bool = True
    exact = True

    def __str__(self) -> str:
        return f"shift by {_number(self.rows, 'row')} and {_number(self.columns, 'column')}"

    def apply(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Roll rows and columns."""
        return torch.roll(x, (self.rows, self.columns), dims=(-2, -1))

    def inverse(self) -> Shifted:
        """Shift back."""
        return Shifted(-self.rows, -self.columns, self.circular)

    def valid(self, size: tuple[int, int]) -> Bool[Tensor, "h w"]:
        """Mark all pixels; without ``circular``, those that were not wrapped around the border."""
        mask = torch.ones(size, dtype=torch.bool)
        if not self.circular:
            for axis, offset in enumerate((self.rows, self.columns)):
                wrapped = min(abs(offset), size[axis])
                start = 0 if offset > 0 else size[axis] - wrapped
                mask.narrow(axis, start, wrapped).fill_(False)
        return mask


@dataclass(frozen=True)
class Rotated(TransformElement):
    """A rotation about the centre, bilinear, with zeros outside the image.

    Attributes:
        degrees: Angle in degrees, counter-clockwise.
    """

    degrees: float

    def __str__(self) -> str:
        return f"rotate by {self.degrees:g}°"

    @property
    def exact(self) -> bool:  # type: ignore[override]
        """Whether no pixel is resampled; only true of the identity."""
        return self.degrees % 360 == 0

    def apply(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Rotate all images by the angle."""
        return rotate(x, x.new_full((1,), self.degrees))

    def inverse(self) -> Rotated:
        """Rotate back; restores the interior except for interpolation."""
        return Rotated(-self.degrees)

    def valid(self, size: tuple[int, int]) -> Bool[Tensor, "h w"]:
        """Mark the pixels that depend on no zero from outside the image."""
        return rotate(torch.ones(1, 1, *size), torch.tensor([self.degrees]))[0, 0] > 1 - 1e-4


@dataclass(frozen=True)
class Reflected(TransformElement):
    """A reflection along the width (horizontal), the height (vertical), or both.

    Attributes:
        axes: Axes to flip: -1 for the width, -2 for the height.
    """

    axes: tuple[int, ...]
    exact = True

    def __str__(self) -> str:
        names = {-1: "horizontally", -2: "vertically"}
        return "reflect " + " and ".join(names[axis] for axis in self.axes)

    def apply(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Flip the axes."""
        return x.flip(self.axes)

    def inverse(self) -> Reflected:
        """Return the reflection itself, which is its own inverse."""
        return self

    def valid(self, size: tuple[int, int]) -> Bool[Tensor, "h w"]:
        """Mark all pixels."""
        return torch.ones(size, dtype=torch.bool)


@dataclass(frozen=True)
class Turned(TransformElement):
    """A symmetry of the square: a reflection or none, then quarter turns.

    Attributes:
        turns: Number of quarter turns.
        flip: Whether to reflect first.
    """

    turns: int
    flip: bool
    exact = True

    def __str__(self) -> str:
        steps = ["reflect horizontally"] if self.flip else []
        if self.turns:
            steps.append(f"turn by {90 * self.turns}°")
        return ", then ".join(steps) or "leave as it is"

    def apply(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Move the pixels."""
        return dihedral(x, self.turns, self.flip)

    def inverse(self) -> Turned:
        """Return the inverse; an element that reflects is its own inverse."""
        return self if self.flip else Turned(-self.turns % 4, False)

    def valid(self, size: tuple[int, int]) -> Bool[Tensor, "h w"]:
        """Mark all pixels."""
        return torch.ones(size, dtype=torch.bool)


class Shift(TransformGroup):
    """Circular shifts by a random number of rows and columns, neither of them zero.

    Args:
        circular: Whether pixels that are wrapped around the border count as valid, as in EMMA. They
            form edges that no sensor sees; with false a masked loss leaves them out.
        largest: Largest shift in pixels; None for the side of the image minus one.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> (shift,) = Shift(largest=4).sample(1, (32, 32), generator)
        >>> x = torch.rand(1, 1, 32, 32)
        >>> torch.equal(shift.inverse().apply(shift.apply(x)), x)
        True
    """

    name = "shift"

    def __init__(self, circular: bool = True, largest: Annotated[int, Field(ge=1)] | None = None):
        self.circular = circular
        self.largest = largest

    def sample(self, count: int, size: tuple[int, int], generator: Generator) -> Sequence[Shifted]:
        """Draw ``count`` shifts; no row offset and no column offset is drawn twice."""
        _check_count(self, count, size)
        rows, columns = (_draw_offsets(count, limit, generator) for limit in self._limits(size))
        return [Shifted(r, c, self.circular) for r, c in zip(rows, columns, strict=True)]

    def order(self, size: tuple[int, int]) -> int:
        """Return how many shifts have different row and different column offsets."""
        return 2 * max(0, min(self._limits(size)))

    def _limits(self, size: tuple[int, int]) -> list[int]:
        """Return the largest row and the largest column offset."""
        limits = [extent - 1 for extent in size]
        return limits if self.largest is None else [min(limit, self.largest) for limit in limits]


def _draw_offsets(count: int, limit: int, generator: Generator) -> list[int]:
    """Draw different offsets from -limit .. limit, without 0."""
    drawn = torch.randperm(2 * limit, generator=generator)[:count].tolist()
    return [d - limit if d < limit else d - limit + 1 for d in drawn]


class Rotate(TransformGroup):
    """Rotations about the image centre.

    Args:
        angles: ``fixed`` gives 10, 10 + 360 // count, ... degrees, as EMMA's training does;
            ``random`` draws different whole degrees from 1 .. 358.

    Example:
        >>> [rotation.degrees for rotation in Rotate().sample(3, (32, 32), torch.Generator())]
        [10.0, 130.0, 250.0]
    """

    name = "rotate"

    def __init__(self, angles: Literal["fixed", "random"] = "fixed"):
        self.angles = angles

    def sample(self, count: int, size: tuple[int, int], generator: Generator) -> Sequence[Rotated]:
        """Return ``count`` rotations."""
        _check_count(self, count, size)
        if self.angles == "fixed":
            return [Rotated(float(10 + k * (360 // count))) for k in range(count)]
        drawn = torch.randperm(358, generator=generator)[:count].tolist()
        return [Rotated(float(degrees + 1)) for degrees in drawn]

    def order(self, size: tuple[int, int]) -> int:
        """Return 350, the rotations by 10 .. 359 degrees in steps of one degree."""
        return 350


class Reflect(TransformGroup):
    """The three reflections: horizontal, vertical, both.

    Args:
        order: ``fixed`` takes them in that order, as EMMA does; ``random`` draws without
            replacement.

    Example:
        >>> [reflection.axes for reflection in Reflect().sample(2, (32, 32), torch.Generator())]
        [(-1,), (-2,)]
    """

    name = "reflect"

    def __init__(self, order: Literal["fixed", "random"] = "fixed"):
        self._sampling = order

    def sample(
        self, count: int, size: tuple[int, int], generator: Generator
    ) -> Sequence[Reflected]:
        """Return ``count`` of the three reflections."""
        _check_count(self, count, size)
        elements = [Reflected((-1,)), Reflected((-2,)), Reflected((-2, -1))]
        if self._sampling == "random":
            elements = [elements[k] for k in torch.randperm(3, generator=generator).tolist()]
        return elements[:count]

    def order(self, size: tuple[int, int]) -> int:
        """Return 3, the number of reflections."""
        return len(REFLECTIONS) - 1


class Dihedral(TransformGroup):
    """The symmetries of the square, which resample no pixel.

    Images that are not square have only the three elements that keep height and width (see
    ``order``).

    Args:
        order: ``fixed`` takes them in order; ``random`` draws without replacement.

    Example:
        >>> Dihedral().order((32, 32)), Dihedral().order((32, 48))
        (7, 3)
    """

    name = "d4"

    def __init__(self, order: Literal["fixed", "random"] = "random"):
        self._sampling = order

    def sample(self, count: int, size: tuple[int, int], generator: Generator) -> Sequence[Turned]:
        """Return ``count`` elements."""
        _check_count(self, count, size)
        elements = [Turned(*e) for e in (D4 if size[0] == size[1] else REFLECTIONS)[1:]]
        if self._sampling == "random":
            drawn = torch.randperm(len(elements), generator=generator).tolist()
            elements = [elements[k] for k in drawn]
        return elements[:count]

    def order(self, size: tuple[int, int]) -> int:
        """Return 7 for squares; 3 for other images, whose shape quarter turns would change."""
        return (len(D4) if size[0] == size[1] else len(REFLECTIONS)) - 1


def _number(count: int, unit: str) -> str:
    """Return a number with its unit: ``-1 row``, ``8 rows``."""
    return f"{count} {unit}" if abs(count) == 1 else f"{count} {unit}s"


def _check_count(group: TransformGroup, count: int, size: tuple[int, int]) -> None:
    """Raise FusionkitError if the group has fewer elements for images of this size."""
    order = group.order(size)
    if order is not None and count > order:
        raise FusionkitError(
            f"{group.name}: the group has {order} elements besides the identity for images of "
            f"{size[0]}x{size[1]} pixels, found a count of {count}"
        )
