"""Group ``deepinv-diffeomorphism``: smooth, invertible deformations of the image."""

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
from fusionkit_deepinv.group import MIN_MOVE, Group
from fusionkit_deepinv.library import deepinv_module, quiet


@dataclass(frozen=True, eq=False)
class Deformed(Element):
    """A diffeomorphism; see ``Diffeomorphism``."""

    def _transform(self, image: Tensor, outside: str = "reflection") -> Tensor:
        made = _build_transform(**self.options)
        made.cpab.device = image.device
        theta = self.parameters["diffeo"].to(image.device)
        # The inverse of the flow of a velocity field is the flow of the negated field.
        return made.transform(image, diffeo=-theta if self.inverted else theta)

    def valid(self, size: tuple[int, int]) -> Bool[Tensor, "h w"]:
        """Mark all pixels, because the border does not move."""
        return torch.ones(size, dtype=torch.bool)


class Diffeomorphism(Group):
    """Smooth deformations that keep the border in place (``CPABDiffeomorphism`` of deepinv).

    Slow: 0.1 s for an image of 128 x 128 pixels, more than all other groups together. Needs libcpab
    (``pip install "fusionkit-deepinv[diffeomorphism]"``), which writes a file into the folder of
    its package.

    Args:
        cells: Cells of the velocity field along each axis.
        strength: Standard deviation of the parameters of the velocity field; 1 in deepinv.
        keep_area: Whether to preserve areas.

    Raises:
        FusionkitError: if libcpab is not installed or cannot write its file.

    Example:
        >>> import torch
        >>> import fusionkit as fk
        >>> group = fk.build("transform", name="deepinv-diffeomorphism")
        >>> element, = group.sample(1, (32, 48), torch.Generator().manual_seed(0))
        >>> tuple(element.apply(torch.rand(2, 1, 32, 48)).shape)
        (2, 1, 32, 48)
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
        _build_transform(**self._options)

    def _draw(self, size: tuple[int, int], generator: Generator) -> Deformed:
        # As libcpab does, which can use the global generator only.
        count = _build_transform(**self._options).cpab.params.d
        theta = self.strength * torch.randn(1, count, generator=generator)
        return Deformed({"diffeo": theta}, self._options)

    def _key(self, element: Any, size: tuple[int, int]) -> Hashable | None:
        """Return the parameters; None if a coarse grid of points hardly moves."""
        cpab, theta = _build_transform(**self._options).cpab, element.parameters["diffeo"]
        cpab.device = theta.device
        with quiet():
            grid = cpab.uniform_meshgrid((12, 12))
            moved = (cpab.transform_grid(grid, theta) - grid).abs().max().item() * max(size)
        return tuple(theta.flatten().tolist()) if moved > MIN_MOVE else None


@functools.cache
def _build_transform(cells: int, keep_area: bool) -> Any:
    """Build the transform and cache it, because its basis takes a second to compute."""
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
            f"deepinv-diffeomorphism: libcpab cannot write into the folder of its package "
            f"({error}); install it in a folder where you have write permission"
        ) from None
