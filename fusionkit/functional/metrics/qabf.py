"""Qabf: how much of the sources' edges the fused image carries."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

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
    """
    strength_f, angle_f = _edges(fused)
    preserved = torch.zeros_like(strength_f)
    weights = torch.zeros_like(strength_f)
    for source in sources:
        strength, angle = _edges(source)
        larger, smaller = torch.maximum(strength, strength_f), torch.minimum(strength, strength_f)
        tie = torch.ones_like(strength_f) if textbook else strength_f
        ratio = torch.where(strength == strength_f, tie, smaller / larger.clamp_min(1e-12))
        turn = (angle - angle_f).abs()
        if textbook:
            turn = torch.minimum(turn, math.pi - turn)
        alignment = 1 - turn / (math.pi / 2)
        quality = _sigmoid(ratio, *_STRENGTH) * _sigmoid(alignment, *_ANGLE)
        preserved = preserved + quality * strength
        weights = weights + strength
    total = weights.sum(dim=(1, 2, 3))
    return torch.where(
        total > 0, preserved.sum(dim=(1, 2, 3)) / total.clamp_min(1e-12), torch.zeros_like(total)
    )


def _edges(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return strength and angle of the Sobel edges."""
    x = F.pad(x.double(), (1, 1, 1, 1))
    # Smoothing first in one direction, then the difference in the other: the separable Sobel.
    vertical = x[..., :-2, :] + 2 * x[..., 1:-1, :] + x[..., 2:, :]
    across = vertical[..., 2:] - vertical[..., :-2]
    horizontal = x[..., :-2] + 2 * x[..., 1:-1] + x[..., 2:]
    down = horizontal[..., :-2, :] - horizontal[..., 2:, :]
    strength = (across.square() + down.square()).sqrt()
    # convolve2d flips both kernels: both signs change, their ratio does not.
    safe = torch.where(across == 0, 1.0, across)
    angle = torch.where(across == 0, math.pi / 2, torch.atan(down / safe))
    return strength, angle


def _sigmoid(x: Tensor, top: float, slope: float, middle: float) -> Tensor:
    return top / (1 + torch.exp(slope * (x - middle)))
