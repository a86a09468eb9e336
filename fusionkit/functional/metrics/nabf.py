"""Nabf: edges in the fused image that no source has."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from fusionkit.errors import FusionkitError

_STRENGTH = (0.9999, 19.0, 0.5)
_ANGLE = (0.9995, 22.0, 0.5)
_STRIP = 32
_LEAST_EDGE, _LEAST_WEIGHT, _EXPONENT = 2.0, 0.001, 1.5


def fusion_artifacts(
    fused: Float[Tensor, "b 1 h w"],
    sources: Sequence[Float[Tensor, "b 1 h w"]],
    *,
    permuted: bool = False,
) -> Float[Tensor, " b"]:
    """Nabf of Petrovic as modified by Shreyamsha Kumar (SIViP 2013); lower is better.

    Where the fused edge is stronger than that of every source, what each source's edge is not
    preserved counts, weighted by the strength of the source's edge to the power of 1.5 (0.001 for
    edges below 2). Sobel edges / 8 with reflected borders.

    Args:
        fused: (b, 1, h, w), 0 .. 255.
        sources: Images of the same shape.
        permuted: What ``tang`` computes: it hands infrared, visible, fused of 0 .. 1 to a function
            of fused, source, source. So the first source is judged, as if the second and the fused
            image were what it had been made of.

    Raises:
        FusionkitError: if ``permuted`` and there are not two sources.

    Example:
        >>> step = torch.zeros(1, 1, 48, 48)
        >>> step[..., 24:] = 255
        >>> fusion_artifacts(step, [step, step]).item()
        0.0
    """
    if permuted:
        if len(sources) != 2:
            raise FusionkitError(
                f"Nabf in the profile tang takes two sources, found {len(sources)}"
            )
        first, second, made = (x.double() / 255 for x in (*sources, fused))
        fused, sources = first, [second, made]
    lost = fused.new_zeros(len(fused), dtype=torch.float64)
    weights = lost.clone()
    padded = F.pad(torch.stack([fused, *sources]).squeeze(2), (1, 1, 1, 1), mode="reflect")
    # Strip by strip, with few enough rows to stay in the CPU cache.
    for top in range(0, fused.shape[-2], _STRIP):
        square, angle = _edges(padded[..., top : top + _STRIP + 2, :])
        # Compare squares, which are exact; roots of equal strengths may differ in a bit.
        stronger = square[1:].clone().lt_(square[:1]).prod(dim=0)
        weight = square[1:].sqrt()
        weight.mul_(weight.sqrt()).sub_(_LEAST_WEIGHT)
        weight.mul_(square[1:].clone().ge_(_LEAST_EDGE**2)).add_(_LEAST_WEIGHT)
        strength = square.sqrt_()
        ratio = torch.minimum(strength[1:], strength[:1])
        ratio.div_(torch.maximum(strength[1:], strength[:1]).clamp_min_(1e-30))
        alignment = (angle[1:] - angle[:1]).abs_().sub_(math.pi / 2).abs_().mul_(2 / math.pi)
        below = _below(ratio, *_STRENGTH).mul_(_below(alignment, *_ANGLE))
        kept = below.rsqrt_().mul_((_STRENGTH[0] * _ANGLE[0]) ** 0.5)
        weights += weight.sum(dim=(0, 2, 3), dtype=torch.float64)
        lost += kept.neg_().add_(1).mul_(weight).mul_(stronger).sum((0, 2, 3), dtype=torch.float64)
    return lost / weights


def _edges(x: Float[Tensor, "*b h w"]) -> tuple[Tensor, Tensor]:
    """Return squared strength and angle of the Sobel edges / 8 of a padded strip.

    The angle is 0 where there is no edge. In float32, edges of 8-bit levels are exact.
    """
    vertical = torch.add(x[..., :-2, :], x[..., 1:-1, :], alpha=2).add_(x[..., 2:, :]).mul_(1 / 8)
    across = vertical[..., 2:] - vertical[..., :-2]
    horizontal = torch.add(x[..., :-2], x[..., 1:-1], alpha=2).add_(x[..., 2:]).mul_(1 / 8)
    down = horizontal[..., 2:, :] - horizontal[..., :-2, :]
    square = across.square().add_(down.square())
    return square, across.div_(down).atan_().nan_to_num_(0.0)


def _below(x: Tensor, top: float, slope: float, middle: float) -> Tensor:
    """Return what the top of a sigmoid is divided by."""
    return x.sub_(middle).mul_(-slope).exp_().add_(1)
