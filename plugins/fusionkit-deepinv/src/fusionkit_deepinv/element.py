"""Base class of all elements: a transform of deepinv with fixed parameters."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from fusionkit.functional.padding import crop, pad_to_multiple
from fusionkit.interfaces import TransformElement
from fusionkit_deepinv.library import quiet

Parameters = Mapping[str, Any]
"""Argument of ``transform`` -> tensor, as ``get_params`` of deepinv draws them for one image."""


@dataclass(frozen=True, eq=False)
class Element(TransformElement):
    """A transform of deepinv that applies the same parameters to every image.

    Attributes:
        parameters: Parameters of the transform, as drawn.
        options: Arguments that the transform is built with.
        inverted: Whether this is the inverse of the transform with these parameters.
    """

    parameters: Parameters
    options: Mapping[str, Any]
    inverted: bool = False
    exact = False

    def __str__(self) -> str:
        parameters = plain_tensors(
            {key: torch.as_tensor(value) for key, value in self.parameters.items()}
        )
        # The first numbers tell elements apart; a diffeomorphism has hundreds.
        shown = [
            f"{key} {', '.join(f'{number:.3g}' for number in value.flatten()[:4].tolist())}"
            for key, value in parameters.items()
        ]
        inverse = "inverse of " if self.inverted else ""
        return f"{inverse}{type(self).__name__.lower()} with {'; '.join(shown)}"

    def apply(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Transform all images and channels in the same way."""
        b, c, h, w = x.shape
        # deepinv has parameters per image, so pass the batch as the channels of one image.
        with quiet():
            return self._transform(x.reshape(1, b * c, h, w)).reshape(x.shape).to(x.dtype)

    def inverse(self) -> Self:
        """Return the element that undoes this one, up to resampling."""
        return replace(self, inverted=not self.inverted)

    def valid(self, size: tuple[int, int]) -> Bool[Tensor, "h w"]:
        """Mark the pixels that were interpolated from pixels inside the image only."""
        with quiet():
            ones = self._transform(torch.ones(1, 1, *size), outside="zeros")[0, 0]
        # Some bicubic weights are negative, so a sum without them can also exceed 1.
        return (ones - 1).abs() < 1e-4

    @abstractmethod
    def _transform(self, image: Tensor, outside: str = "reflection") -> Tensor:
        """Transform one image (1, c, h, w).

        Args:
            image: The image.
            outside: Values outside the image: ``reflection`` or ``zeros``.
        """


def pad_to_square(image: Tensor, outside: str) -> Tensor:
    """Pad an image to a square, with the image in the centre.

    deepinv 0.5.0 confuses height and width in the centre of its homographies and in the grid of its
    scaling. This does not matter for square images.
    """
    h, w = image.shape[-2:]
    side = max(h, w)
    if outside == "reflection":
        return pad_to_multiple(image, side)
    rows, columns = side - h, side - w
    top, left = rows // 2, columns // 2
    return F.pad(image, (left, columns - left, top, rows - top))


def crop_square(image: Tensor, like: Tensor) -> Tensor:
    """Crop a square to the size of ``like``: the inverse of ``pad_to_square``."""
    h, w = like.shape[-2:]
    return crop(image, (h, w))


def plain_tensors(parameters: Parameters, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Return the parameters as plain tensors, because deepinv redefines their negation."""
    return {
        key: value.detach().as_subclass(torch.Tensor).to(device)
        for key, value in parameters.items()
    }
