"""Kernels of convolutions that are merged with what stands before or behind them."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = [
    "grouped_kernel",
    "matrix_after",
    "matrix_before",
    "own_kernel",
    "rotation_to_mean",
    "ungrouped",
]


def own_kernel(weight: Tensor) -> Tensor:
    """Return a copy in the order of memory that convolutions on the CPU are fastest with."""
    return weight.detach().clone(memory_format=torch.channels_last)


def rotation_to_mean(channels: int) -> Float[Tensor, "c c"]:
    """Return an orthogonal matrix whose first row takes the mean of all channels."""
    mean = torch.full((channels,), channels**-0.5, dtype=torch.float64)
    axis = -mean
    axis[0] += 1
    identity = torch.eye(channels, dtype=torch.float64)
    length = axis @ axis
    return identity if length == 0 else identity - 2 / length * torch.outer(axis, axis)


def matrix_after(matrix: Tensor, kernel: Tensor) -> Tensor:
    """Return the kernel of a convolution that a matrix follows."""
    return torch.einsum("oc,cixy->oixy", matrix, kernel)


def matrix_before(kernel: Tensor, matrix: Tensor) -> Tensor:
    """Return the kernel of a convolution that follows a matrix."""
    return torch.einsum("ocxy,ci->oixy", kernel, matrix)


def ungrouped(grouped: Float[Tensor, "c 2 3 3"]) -> Float[Tensor, "c c 3 3"]:
    """Return the kernel of a convolution without groups, of one with two channels per group."""
    channels = len(grouped)
    dense = grouped.new_zeros(channels, channels, *grouped.shape[2:])
    for channel in range(channels):
        first = channel // 2 * 2
        dense[channel, first : first + 2] = grouped[channel]
    return dense


def grouped_kernel(kernel: Float[Tensor, "c c 3 3"], groups: int) -> Float[Tensor, "c g 3 3"]:
    """Return the kernel of a convolution in groups, from a full kernel that is zero elsewhere."""
    parts = [part.chunk(groups, dim=1)[at] for at, part in enumerate(kernel.chunk(groups))]
    return torch.cat(parts)
