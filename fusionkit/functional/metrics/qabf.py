"""Qabf: how much of the sources' edges the fused image carries."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

_STRIP = 32
_STRENGTH = (0.9994, -15.0, 0.5)
_ANGLE = (0.9879, -22.0, 0.8)


def edge_transfer(
    fused: Float[Tensor, "b 1 h w"],
    sources: Sequence[Float[Tensor, "b 1 h w"]],
    *,
    textbook: bool = False,
) -> Float[Tensor, " b"]:
    """Qabf of Xydeas and Petrovic (Electronics Letters 2000), as the profiles compute it.

    Each source's edge strength and angle preservation, both through a sigmoid, weighted by its
    edge strength. Sobel edges with zero padding; angles by arctan with pi/2 where the horizontal
    edge is 0. 0 where no source has an edge.

    Args:
        fused: (b, 1, h, w), 0 .. 255.
        sources: Images of the same shape.
        textbook: Wrap differences of angles, as edges have no sign, and take equal strengths for a
            ratio of 1 (``petrovic``). Evaluators of the field do neither: a difference may exceed
            pi/2, and where both strengths are equal they put the fused strength itself.

    Example:
        >>> step = torch.zeros(1, 1, 48, 48)
        >>> step[..., 24:] = 255
        >>> round(edge_transfer(step, [step, step]).item(), 3)
        0.975
    """
    kept = fused.new_zeros(len(fused), dtype=torch.float64)
    total = kept.clone()
    padded = F.pad(torch.stack([fused, *sources]), (1, 1, 1, 1))
    # Strip by strip, with few enough rows to stay in the CPU cache.
    for top in range(0, fused.shape[-2], _STRIP):
        strength, angle = _edges(padded[..., top : top + _STRIP + 2, :])
        total += strength[1:].sum(dim=(0, 2, 3, 4), dtype=torch.float64)
        preserved = _preserved(strength[1:], angle[1:], strength[:1], angle[:1], textbook)
        kept += preserved.sum(dim=(0, 2, 3, 4), dtype=torch.float64)
    return torch.where(total > 0, kept / total.clamp_min(1e-12), torch.zeros_like(total))


def _preserved(
    strength: Tensor, angle: Tensor, strength_f: Tensor, angle_f: Tensor, textbook: bool
) -> Tensor:
    """Return how much of each edge of a source the fused image has, times its strength."""
    larger, smaller = torch.maximum(strength, strength_f), torch.minimum(strength, strength_f)
    ratio = smaller.div_(larger.clamp_min_(1e-12))
    tie = torch.ones_like(strength_f) if textbook else strength_f
    ratio = torch.where(strength == strength_f, tie, ratio)
    turn = (angle - angle_f).abs_()
    if textbook:
        turn = torch.minimum(turn, math.pi - turn)
    alignment = turn.mul_(-2 / math.pi).add_(1)
    # Compute both sigmoids with one division.
    below = _below(ratio, *_STRENGTH).mul_(_below(alignment, *_ANGLE))
    return (_STRENGTH[0] * _ANGLE[0] * strength).div_(below)


def _edges(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return strength and angle of the Sobel edges of a padded strip.

    In float32, edges of 8-bit levels are exact.
    """
    # The separable Sobel operator: smooth in one direction, then subtract in the other.
    vertical = (x[..., :-2, :] + x[..., 2:, :]).add_(x[..., 1:-1, :], alpha=2)
    across = vertical[..., 2:] - vertical[..., :-2]
    horizontal = (x[..., :-2] + x[..., 2:]).add_(x[..., 1:-1], alpha=2)
    down = horizontal[..., :-2, :] - horizontal[..., 2:, :]
    strength = (across.square() + down.square()).sqrt_()
    # convolve2d flips both kernels. Both signs change, so their ratio stays.
    upright = across == 0
    angle = down.div_(across.masked_fill_(upright, 1.0)).atan_()
    return strength, angle.masked_fill_(upright, math.pi / 2)


def _below(x: Tensor, top: float, slope: float, middle: float) -> Tensor:
    """Return what the top of a sigmoid is divided by."""
    return (x - middle).mul_(slope).exp_().add_(1)
