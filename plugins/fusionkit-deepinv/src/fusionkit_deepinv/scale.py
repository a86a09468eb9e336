"""Group ``deepinv-scale``: scalings about random points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Generator, Tensor

from fusionkit.errors import FusionkitError
from fusionkit_deepinv.element import Element, crop_square, pad_to_square
from fusionkit_deepinv.group import Group, draw_parameters
from fusionkit_deepinv.library import deepinv_module


@dataclass(frozen=True, eq=False)
class Scaled(Element):
    """A scaling; see ``Scale``."""

    def _transform(self, image: Tensor, outside: str = "reflection") -> Tensor:
        square = pad_to_square(image, outside)
        made = deepinv_module("deepinv.transform").Scale(padding_mode=outside, **self.options)
        factor, center = (self.parameters[key].double() for key in ("factor", "center"))
        if self.inverted:
            factor, center = _inverse(factor, center, square.shape[-1])
        # deepinv computes its grid in the type of the image; float16 is not precise enough.
        moved = made.transform(
            square.float() if square.dtype != torch.float64 else square,
            factor=factor.to(square.device, torch.float32),
            center=center.to(square.device, torch.float32),
        )
        return crop_square(moved, image)


def _inverse(factor: Tensor, center: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Return factor and centre of the inverse of a scaling by deepinv 0.5.0.

    The factor of the inverse is not 1 / factor, because deepinv maps pixel p to the coordinate
    x = 2 p / side - 1 and reads the image at (1 + x) (side - 1) / 2. So pixel p comes from pixel
    a p + b, with a = (side - 1) / side / factor and b = center (side - 1) (1 - 1 / factor).
    """
    step = (side - 1) / side
    a, b = step / factor, center * (side - 1) * (1 - 1 / factor)
    back = step * a
    return back, (-b / a) / ((side - 1) * (1 - 1 / back))


class Scale(Group):
    """Scalings by one of several factors about a random point (``Scale`` of deepinv).

    Args:
        factors: Factors to choose from, not 1. Below 1 the image shrinks, and its reflection fills
            the borders.
        interpolation: ``bilinear``, or ``bicubic`` as in deepinv, which is sharper but exceeds
            [0, 1] at edges.

    Example:
        >>> import torch
        >>> import fusionkit as fk
        >>> group = fk.build("transform", name="deepinv-scale")
        >>> element, = group.sample(1, (32, 48), torch.Generator().manual_seed(0))
        >>> tuple(element.apply(torch.rand(2, 1, 32, 48)).shape)
        (2, 1, 32, 48)
    """

    name = "deepinv-scale"

    def __init__(
        self,
        factors: Annotated[
            tuple[Annotated[float, Field(ge=0.1, le=10)], ...], Field(min_length=1)
        ] = (0.75, 0.5),
        interpolation: Literal["bilinear", "bicubic"] = "bilinear",
    ):
        super().__init__()
        if 1.0 in factors:
            raise FusionkitError(
                f"{self.name}: expected factors different from 1, found {list(factors)}"
            )
        self.factors, self.interpolation = tuple(factors), interpolation

    def _draw(self, size: tuple[int, int], generator: Generator) -> Scaled:
        made = deepinv_module(self.library).Scale(factors=list(self.factors))
        return Scaled(draw_parameters(made, size, generator), {"mode": self.interpolation})
