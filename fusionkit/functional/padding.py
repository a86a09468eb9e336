"""Padding to sizes that a network can take, and back."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

__all__ = ["crop", "pad_to_multiple"]


def pad_to_multiple(x: Float[Tensor, "b c h w"], multiple: int) -> Float[Tensor, "b c H W"]:
    """Pad by reflection, on both sides alike, until h and w are multiples of ``multiple``.

    An axis too short for the reflection (one of n pixels can reflect n - 1 per side) is reflected
    again and again; one of a single pixel is repeated.

    Example:
        >>> import torch
        >>> pad_to_multiple(torch.rand(1, 1, 30, 50), 16).shape
        torch.Size([1, 1, 32, 64])
    """
    h, w = x.shape[-2:]
    rows, columns = -h % multiple, -w % multiple
    top, left = rows // 2, columns // 2
    x = _pad_axis(x, top, rows - top, vertical=True)
    return _pad_axis(x, left, columns - left, vertical=False)


def crop(x: Float[Tensor, "b c H W"], size: tuple[int, int]) -> Float[Tensor, "b c h w"]:
    """Undo ``pad_to_multiple``: cut the central h x w pixels out.

    Example:
        >>> import torch
        >>> x = torch.rand(1, 1, 30, 50)
        >>> crop(pad_to_multiple(x, 16), (30, 50)).equal(x)
        True
    """
    h, w = size
    top, left = (x.shape[-2] - h) // 2, (x.shape[-1] - w) // 2
    return x[..., top : top + h, left : left + w]


def _pad_axis(x: Tensor, before: int, after: int, vertical: bool) -> Tensor:
    while before or after:
        length = x.shape[-2] if vertical else x.shape[-1]
        mode = "reflect" if length > 1 else "replicate"
        limit = length - 1 if length > 1 else max(before, after)
        first, last = min(before, limit), min(after, limit)
        x = F.pad(x, (0, 0, first, last) if vertical else (first, last, 0, 0), mode=mode)
        before, after = before - first, after - last
    return x
