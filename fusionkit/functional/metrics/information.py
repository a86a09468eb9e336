"""Information in the fused image: entropy, and mutual information with the sources."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

LEVELS = 256


def entropy(fused: Float[Tensor, "b 1 h w"], *, epsilon: float = 0.0) -> Float[Tensor, " b"]:
    """EN = -sum p log2 p over the 256 grey levels, in bits.

    Args:
        fused: (b, 1, h, w), 0 .. 255.
        epsilon: Constant added inside the logarithm (``zoo``).

    Example:
        >>> ramp = torch.arange(256.0).view(1, 1, 16, 16)
        >>> entropy(ramp).item()
        8.0
    """
    p = _histogram(_levels(fused), LEVELS)
    return (0 - torch.xlogy(p, p + epsilon).sum(dim=1)) / math.log(2)  # 0, not -0, for flat images


def mutual_information(
    fused: Float[Tensor, "b 1 h w"],
    sources: Sequence[Float[Tensor, "b 1 h w"]],
    *,
    base: float = math.e,
    saturated: bool = False,
) -> Float[Tensor, " b"]:
    """MI = sum over the sources of I(source; fused), 256 levels.

    Args:
        fused: (b, 1, h, w), 0 .. 255.
        sources: Images of the same shape.
        base: Base of the logarithm: e for nats (``cddfuse``), 2 for bits.
        saturated: Count the levels 254 and 255 as one in the joint histogram, as ``tang`` does: it
            adds 1 to unsigned bytes.

    Example:
        >>> ramp = torch.arange(256.0).view(1, 1, 16, 16)
        >>> mutual_information(ramp, [ramp, ramp], base=2.0).item()
        16.0
    """
    f = _levels(fused)
    total = fused.new_zeros(fused.shape[0], dtype=torch.float64)
    of_f = None
    for source in sources:
        s = _levels(source)
        if saturated:
            top = LEVELS - 2
            joint = _histogram(f.clamp(max=top) * LEVELS + s.clamp(max=top), LEVELS * LEVELS)
            of_f = _plogp(_histogram(f, LEVELS)) if of_f is None else of_f
            of_s = _plogp(_histogram(s, LEVELS))
        else:
            joint = _histogram(s.add_(f, alpha=LEVELS), LEVELS * LEVELS)
            square = joint.unflatten(1, (LEVELS, LEVELS))
            of_f = _plogp(square.sum(dim=2)) if of_f is None else of_f
            of_s = _plogp(square.sum(dim=1))
        total += _plogp(joint) - of_f - of_s
    return total / math.log(base)


def _levels(x: Tensor) -> Int[Tensor, "b n"]:
    return x.round().clamp_(0, LEVELS - 1).int().flatten(1)


def _histogram(values: Int[Tensor, "b n"], bins: int) -> Float[Tensor, "b k"]:
    """Return relative frequencies; one count for the whole batch, each image at its own offset."""
    b, n = values.shape
    if b > 1:
        offsets = torch.arange(b, device=values.device)[:, None] * bins
        values = values + offsets
    counts = torch.bincount(values.flatten(), minlength=b * bins)
    return counts.view(b, bins).double() / n


def _plogp(p: Tensor) -> Float[Tensor, " b"]:
    return torch.xlogy(p, p).sum(dim=1)
