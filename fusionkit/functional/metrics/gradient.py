"""How much detail an image has: spatial frequency and average gradient."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def spatial_frequency(fused: Float[Tensor, "b 1 h w"]) -> Float[Tensor, " b"]:
    """SF = sqrt(mean dx^2 + mean dy^2) of first differences, each mean over its own pixels."""
    x = fused.double()
    columns = (x[..., :, 1:] - x[..., :, :-1]).square().mean(dim=(1, 2, 3))
    rows = (x[..., 1:, :] - x[..., :-1, :]).square().mean(dim=(1, 2, 3))
    return (columns + rows).sqrt()


def average_gradient(fused: Float[Tensor, "b 1 h w"]) -> Float[Tensor, " b"]:
    """AG = mean sqrt((gx^2 + gy^2) / 2), central differences, one-sided at the borders."""
    x = fused.double()
    across, down = _gradient(x, -1), _gradient(x, -2)
    return ((across.square() + down.square()) / 2).sqrt().mean(dim=(1, 2, 3))


def _gradient(x: Tensor, axis: int) -> Tensor:
    """Differences as ``numpy.gradient`` takes them."""
    length = x.shape[axis]
    result = x.new_zeros(x.shape)
    if length < 2:
        return result
    inner = (x.narrow(axis, 2, length - 2) - x.narrow(axis, 0, length - 2)) / 2
    result.narrow(axis, 1, length - 2).copy_(inner)
    result.narrow(axis, 0, 1).copy_(x.narrow(axis, 1, 1) - x.narrow(axis, 0, 1))
    last = x.narrow(axis, length - 1, 1) - x.narrow(axis, length - 2, 1)
    result.narrow(axis, length - 1, 1).copy_(last)
    return result
