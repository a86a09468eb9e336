"""Group ``deepinv-scale``: dilations about random points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Generator, Tensor

from fusionkit.errors import FusionkitError
from fusionkit_deepinv.element import Element, off_square, on_square
from fusionkit_deepinv.group import Group, drawn_by
from fusionkit_deepinv.library import deepinv_module


@dataclass(frozen=True, eq=False)
class Scaled(Element):
    """A dilation; see ``Scale``."""

    def _moved(self, image: Tensor, outside: str = "reflection") -> Tensor:
        square = on_square(image, outside)
        made = deepinv_module("deepinv.transform").Scale(padding_mode=outside, **self.options)
        factor, center = (self.parameters[key].double() for key in ("factor", "center"))
        if self.inverted:
            factor, center = _inverse(factor, center, square.shape[-1])
        # deepinv interpolates in the type of the image; its grid needs more bits than halves have.
        moved = made.transform(
            square.float() if square.dtype != torch.float64 else square,
            factor=factor.to(square.device, torch.float32),
            center=center.to(square.device, torch.float32),
        )
        return off_square(moved, image)


def _inverse(factor: Tensor, center: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Return factor and centre of the transform of deepinv's that undoes another one.

    It is not 1 / factor: deepinv places pixel p at 2 p / side - 1 and reads it at
    (1 + x) (side - 1) / 2, so that pixel p comes from pixel a p + b with
    a = (side - 1) / side / factor and b = center (side - 1) (1 - 1 / factor), center in [0, 1].
    """
    step = (side - 1) / side
    a, b = step / factor, center * (side - 1) * (1 - 1 / factor)
    back = step * a
    return back, (-b / a) / ((side - 1) * (1 - 1 / back))


class Scale(Group):
    """Dilations by one of some factors about a random point, deepinv's ``Scale``.

    Args:
        factors: To draw from; below 1 the scene shrinks and its mirror image fills the borders.
        interpolation: ``bicubic`` as in deepinv is sharper and leaves [0, 1] at edges.
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
                f"{self.name}: expected factors other than 1, found {list(factors)}"
            )
        self.factors, self.interpolation = tuple(factors), interpolation

    def _draw(self, size: tuple[int, int], generator: Generator) -> Scaled:
        made = deepinv_module(self.library).Scale(factors=list(self.factors))
        return Scaled(drawn_by(made, size, generator), {"mode": self.interpolation})
