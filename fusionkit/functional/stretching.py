"""Stretching a fused image to the whole range, as EMMA's official script does before it saves."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor

__all__ = ["Stretch", "stretched"]

Stretch = Literal["none", "minmax"]


def stretched(image: Float[Tensor, "*b h w"], how: Stretch) -> Float[Tensor, "*b h w"]:
    """Return the image, with ``minmax`` linearly mapped so that it spans 0 to 1.

    It changes EN, SD, SF and AG, so state whether it was used. A constant image becomes 0.

    Args:
        image: One image; its extremes are taken over all pixels.
        how: ``none`` or ``minmax``.

    Example:
        >>> import torch
        >>> stretched(torch.tensor([[0.25, 0.5]]), "minmax")
        tensor([[0., 1.]])
    """
    if how == "none":
        return image
    low, high = image.min(), image.max()
    return (image - low) / (high - low).clamp_min(1e-12)
