"""How much detail an image has: spatial frequency, average gradient and edge intensity."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def spatial_frequency(
    fused: Float[Tensor, "b 1 h w"], *, over_all: bool = False, white: float = 255.0
) -> Float[Tensor, " b"]:
    """SF = sqrt(mean dx^2 + mean dy^2) of first differences, each mean over its own pixels.

    Args:
        fused: (b, 1, h, w), 0 .. 255.
        over_all: Divide both sums by h w instead of the number of differences (``vifb``).
        white: Value of the level 255; 1 for images in [0, 1] (``tang``).

    Example:
        >>> stripes = torch.tensor([0.0, 255.0]).repeat(1, 1, 64, 32)
        >>> spatial_frequency(stripes).item()
        255.0
    """
    h, w = fused.shape[-2:]
    columns, rows = _energy(fused, -1), _energy(fused, -2)
    if over_all:
        energy = (columns + rows) / (h * w)
    else:
        energy = columns / max(1, h * (w - 1)) + rows / max(1, (h - 1) * w)
    return energy.sqrt() * (white / 255)


def average_gradient(
    fused: Float[Tensor, "b 1 h w"], *, over_inner: bool = False
) -> Float[Tensor, " b"]:
    """AG = mean sqrt((gx^2 + gy^2) / 2), central differences, one-sided at the borders.

    Args:
        fused: (b, 1, h, w), 0 .. 255.
        over_inner: Divide the sum by (h - 1)(w - 1) instead of h w (``tang``, ``vifb``).

    Example:
        >>> ramp = torch.arange(16.0).expand(1, 1, 16, 16)  # slope 1 across
        >>> round(average_gradient(ramp).item(), 4)
        0.7071
    """
    h, w = fused.shape[-2:]
    across, down = _gradient(fused, -1), _gradient(fused, -2)
    # In float32, squares of 8-bit levels' gradients are exact, and the roots are summed in float64.
    energy = across.mul_(across).addcmul_(down, down)
    total = energy.div_(2).sqrt_().sum(dim=(1, 2, 3), dtype=torch.float64)
    return total / (max(1, (h - 1) * (w - 1)) if over_inner else h * w)


def edge_intensity(
    fused: Float[Tensor, "b 1 h w"], *, border: Literal["replicate", "zeros"] = "replicate"
) -> Float[Tensor, " b"]:
    """EI = mean sqrt(sx^2 + sy^2) of Sobel's gradients.

    Args:
        fused: (b, 1, h, w), 0 .. 255.
        border: Pixels around the image: the nearest ones (``vifb``) or zeros (``zoo``).

    Example:
        >>> ramp = torch.arange(16.0).expand(1, 1, 16, 16)  # slope 1 across, flat at both ends
        >>> edge_intensity(ramp).item()
        7.5
    """
    x = F.pad(fused, (1, 1, 1, 1), "replicate" if border == "replicate" else "constant")
    # In float32, squared strengths of 8-bit levels are exact.
    smooth = torch.add(x[..., :-2, :], x[..., 1:-1, :], alpha=2).add_(x[..., 2:, :])
    across = smooth[..., 2:] - smooth[..., :-2]
    smooth = torch.add(x[..., :-2], x[..., 1:-1], alpha=2).add_(x[..., 2:])
    down = smooth[..., 2:, :] - smooth[..., :-2, :]
    energy = across.mul_(across).addcmul_(down, down)
    return energy.sqrt_().mean(dim=(1, 2, 3), dtype=torch.float64)


def _energy(x: Tensor, axis: int) -> Float[Tensor, " b"]:
    """Return the sum of squared first differences; in float32, each of 8-bit levels is exact."""
    count = x.shape[axis] - 1
    difference = x.narrow(axis, 1, count) - x.narrow(axis, 0, count)
    return difference.mul_(difference).sum(dim=(1, 2, 3), dtype=torch.float64)


def _gradient(x: Tensor, axis: int) -> Tensor:
    """Differences as ``numpy.gradient`` takes them."""
    length = x.shape[axis]
    result = torch.empty_like(x)
    if length < 2:
        return result.zero_()
    inner = result.narrow(axis, 1, length - 2)
    torch.sub(x.narrow(axis, 2, length - 2), x.narrow(axis, 0, length - 2), out=inner)
    inner.div_(2)
    for place, low in ((0, 0), (length - 1, length - 2)):
        edge = result.narrow(axis, place, 1)
        torch.sub(x.narrow(axis, low + 1, 1), x.narrow(axis, low, 1), out=edge)
    return result
