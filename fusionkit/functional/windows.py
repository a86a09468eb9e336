"""Gaussian windows for local means."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["gaussian_weights", "gaussian_window"]


def gaussian_weights(offsets: Float[Tensor, " n"], sigma: float) -> Float[Tensor, " n"]:
    """Return Gaussian weights that sum to 1.

    Args:
        offsets: (n,), distances from the centre in pixels.
        sigma: Standard deviation in pixels.

    Example:
        >>> gaussian_weights(torch.tensor([0.0, 0.0]), 1.5)
        tensor([0.5000, 0.5000])
    """
    weights = torch.exp(-(offsets**2) / (2 * sigma**2))
    return weights / weights.sum()


def gaussian_window(
    size: int,
    sigma: float,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Float[Tensor, " {size}"]:
    """Return a separable Gaussian window that sums to 1, along one axis.

    Args:
        size: Length in pixels; odd, so that it has a centre.
        sigma: Standard deviation in pixels.
        dtype: Type of the weights.
        device: Device of the weights.

    Example:
        >>> gaussian_window(3, 1.0)
        tensor([0.2741, 0.4519, 0.2741])
    """
    return gaussian_weights(torch.arange(size, dtype=dtype, device=device) - size // 2, sigma)
