"""Grey levels stretched to the whole range."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

__all__ = ["stretched"]


def stretched(x: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
    """Stretch each image to the levels 0 to 255, as Z. Liu's metrics do; a constant one stays.

    Args:
        x: (b, 1, h, w), 0 .. 255.

    Returns:
        (b, 1, h, w) float64, whole numbers; halves are rounded up.

    Example:
        >>> import torch
        >>> stretched(torch.tensor([10.0, 12.0, 20.0]).view(1, 1, 1, 3)).flatten().tolist()
        [0.0, 51.0, 255.0]
    """
    x = x.double()
    low, high = x.amin(dim=(1, 2, 3), keepdim=True), x.amax(dim=(1, 2, 3), keepdim=True)
    span = high - low
    wide = ((x - low) / span.clamp_min(1e-9) * 255 + 0.5).floor()
    return wide.where(span > 0, x)
