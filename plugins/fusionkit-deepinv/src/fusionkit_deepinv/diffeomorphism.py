"""Group ``deepinv-diffeomorphism``: smooth bijections of the image onto itself."""

from __future__ import annotations

import functools
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from jaxtyping import Bool
from pydantic import Field
from torch import Generator, Tensor

from fusionkit.errors import FusionkitError
from fusionkit_deepinv.element import Element
from fusionkit_deepinv.group import LEAST_MOVE, Group
from fusionkit_deepinv.library import deepinv_module, quiet


@dataclass(frozen=True, eq=False)
class Deformed(Element):
    """A diffeomorphism; see ``Diffeomorphism``."""

    def _moved(self, image: Tensor, outside: str = "reflection") -> Tensor:
        made = _transform(**self.options)
        made.cpab.device = image.device
        theta = self.parameters["diffeo"].to(image.device)
        # The flow of a velocity field is undone by the flow of its negative.
        return made.transform(image, diffeo=-theta if self.inverted else theta)

    def valid(self, size: tuple[int, int]) -> Bool[Tensor, "h w"]:
        """Mark all pixels: the border stays where it is, so nothing comes from outside."""
        return torch.ones(size, dtype=torch.bool)


class Diffeomorphism(Group):
    """Smooth deformations that keep the border, deepinv's ``CPABDiffeomorphism``.

    A tenth of a second for an image of 128 x 128, more than all the others together. Needs libcpab
    (``pip install "fusionkit-deepinv[diffeomorphism]"``), which keeps a file beside
    its package.

    Args:
        cells: Cells of the velocity field along each axis.
        strength: Standard deviation of its parameters; deepinv's is 1.
        keep_area: Keep the area of every part of the image.
    """

    name = "deepinv-diffeomorphism"

    def __init__(
        self,
        cells: Annotated[int, Field(ge=2, le=16)] = 3,
        strength: Annotated[float, Field(gt=0)] = 1.0,
        keep_area: bool = True,
    ):
        super().__init__()
        self.strength = strength
        self._options = {"cells": cells, "keep_area": keep_area}
        _transform(**self._options)

    def _draw(self, size: tuple[int, int], generator: Generator) -> Deformed:
        # As libcpab draws it, which knows the global generator only.
        count = _transform(**self._options).cpab.params.d
        theta = self.strength * torch.randn(1, count, generator=generator)
        return Deformed({"diffeo": theta}, self._options)

    def _key(self, element: Any, size: tuple[int, int]) -> Hashable | None:
        """Tell elements apart by their parameters; on a coarse grid, as the flow takes long."""
        cpab, theta = _transform(**self._options).cpab, element.parameters["diffeo"]
        cpab.device = theta.device
        with quiet():
            grid = cpab.uniform_meshgrid((12, 12))
            moved = (cpab.transform_grid(grid, theta) - grid).abs().max().item() * max(size)
        return tuple(theta.flatten().tolist()) if moved > LEAST_MOVE else None


@functools.cache
def _transform(cells: int, keep_area: bool) -> Any:
    """Build the basis of the velocity fields once; it takes a second."""
    try:
        with quiet():
            return deepinv_module("deepinv.transform").CPABDiffeomorphism(
                n_tesselation=cells, volume_perservation=keep_area, zero_boundary=True
            )
    except ImportError:
        raise FusionkitError(
            "deepinv-diffeomorphism needs libcpab, which is not installed; "
            'run: pip install "fusionkit-deepinv[diffeomorphism]"'
        ) from None
    except OSError as error:
        raise FusionkitError(
            f"deepinv-diffeomorphism: libcpab can't write its basis beside its package ({error}); "
            f"install it where you may write"
        ) from None
