"""Images of one field of view brought to one size."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

__all__ = ["resample", "same_field"]

_TOLERANCE = 0.01


def same_field(first: tuple[int, int], second: tuple[int, int]) -> bool:
    """Say whether two sizes (h, w) in pixels have one aspect ratio, so far as whole pixels tell.

    Within 1 %, and half a pixel for rounding on each side of the smaller image.

    >>> same_field((240, 320), (480, 640)), same_field((256, 320), (480, 640))
    (True, False)
    """
    height, width = min(first, second)
    ratio = (first[1] / first[0]) / (second[1] / second[0])
    return max(ratio, 1 / ratio) - 1 <= _TOLERANCE + 0.5 / height + 0.5 / width


def resample(image: Float[Tensor, "c h w"], size: tuple[int, int]) -> Float[Tensor, "c h2 w2"]:
    """Return an image in [0, 1] with another size (h, w) in pixels.

    Bicubic, with antialiasing where it shrinks; clamped to [0, 1], which bicubic overshoots.

    Example:
        >>> import torch
        >>> resample(torch.ones(1, 4, 6), (2, 3)).shape
        torch.Size([1, 2, 3])
    """
    return F.interpolate(image[None], size, mode="bicubic", antialias=True)[0].clamp(0, 1)
