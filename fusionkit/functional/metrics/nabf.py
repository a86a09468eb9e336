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
    square_f, angle_f = _edges(fused)
    strength_f = square_f.sqrt()
    lost = torch.zeros_like(strength_f)
    weights = torch.zeros_like(strength_f)
    stronger = torch.ones_like(strength_f, dtype=torch.bool)
    for source in sources:
        square, angle = _edges(source)
        strength = square.sqrt()
        larger, smaller = torch.maximum(strength, strength_f), torch.minimum(strength, strength_f)
        ratio = torch.where(smaller > 0, smaller / larger.clamp_min(1e-300), 0.0)
        alignment = ((angle - angle_f).abs() - math.pi / 2).abs() * 2 / math.pi
        kept = (_sigmoid(ratio, *_STRENGTH) * _sigmoid(alignment, *_ANGLE)).sqrt()
        weight = torch.where(strength >= _LEAST_EDGE, strength**_EXPONENT, _LEAST_WEIGHT)
        lost = lost + (1 - kept) * weight
        weights = weights + weight
        # Compare squares, which are exact; roots of equal strengths may differ in a bit.
        stronger &= square_f > square
    return (lost * stronger).sum(dim=(1, 2, 3)) / weights.sum(dim=(1, 2, 3))


def _edges(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return squared strength and angle of the Sobel edges, 0 where there is none."""
    x = F.pad(x.double(), (1, 1, 1, 1), mode="reflect") / 8
    vertical = x[..., :-2, :] + 2 * x[..., 1:-1, :] + x[..., 2:, :]
    across = vertical[..., 2:] - vertical[..., :-2]
    horizontal = x[..., :-2] + 2 * x[..., 1:-1] + x[..., 2:]
    down = horizontal[..., 2:, :] - horizontal[..., :-2, :]
    square = across.square() + down.square()
    return square, torch.where(square == 0, 0.0, torch.atan(across / down))


def _sigmoid(x: Tensor, top: float, slope: float, middle: float) -> Tensor:
    return top / (1 + torch.exp(-slope * (x - middle)))
