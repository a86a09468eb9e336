"""An element of a group: a transform of deepinv with its parameters drawn."""

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
"""Argument of ``transform`` -> tensor, as deepinv's ``get_params`` draws them for one image."""


@dataclass(frozen=True, eq=False)
class Element(TransformElement):
    """A transform of deepinv, applied with the same parameters to every image.

    Attributes:
        parameters: As drawn.
        options: What the transform is built with.
        inverted: Whether it is the inverse of what was drawn.
    """

    parameters: Parameters
    options: Mapping[str, Any]
    inverted: bool = False
    exact = False

    def apply(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Transform all images and channels alike."""
        b, c, h, w = x.shape
        # deepinv draws for each image; the batch as channels of one image can't differ.
        with quiet():
            return self._moved(x.reshape(1, b * c, h, w)).reshape(x.shape).to(x.dtype)

    def inverse(self) -> Self:
        """Return the element that undoes this one, up to resampling."""
        return replace(self, inverted=not self.inverted)

    def valid(self, size: tuple[int, int]) -> Bool[Tensor, "h w"]:
        """Mark the pixels all of whose neighbours in x that were interpolated are inside of x."""
        with quiet():
            ones = self._moved(torch.ones(1, 1, *size), outside="zeros")[0, 0]
        # Bicubic weights are negative at two of four neighbours: without one of them it's above 1.
        return (ones - 1).abs() < 1e-4

    @abstractmethod
    def _moved(self, image: Tensor, outside: str = "reflection") -> Tensor:
        """Transform one image (1, c, h, w), with zeros or its mirror image outside."""


def on_square(image: Tensor, outside: str) -> Tensor:
    """Pad to a square with the image in the middle.

    deepinv takes height for width in the centre of its homographies and in the grid of its scaling,
    which makes no difference in squares and nonsense elsewhere.
    """
    h, w = image.shape[-2:]
    side = max(h, w)
    if outside == "reflection":
        return pad_to_multiple(image, side)
    rows, columns = side - h, side - w
    top, left = rows // 2, columns // 2
    return F.pad(image, (left, columns - left, top, rows - top))


def off_square(image: Tensor, like: Tensor) -> Tensor:
    """Undo ``on_square``."""
    h, w = like.shape[-2:]
    return crop(image, (h, w))


def plain(parameters: Parameters, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Return the parameters as tensors without deepinv's notion of their negative."""
    return {
        key: value.detach().as_subclass(torch.Tensor).to(device)
        for key, value in parameters.items()
    }
