"""Nabf: edges in the fused image that no source has."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from fusionkit.errors import FusionkitError
from fusionkit.functional.metrics.edges import compare_edges

_STRENGTH = (0.9999, 19.0, 0.5)
_ANGLE = (0.9995, 22.0, 0.5)
_SCALE = 8.0
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
        FusionkitError: if ``permuted`` and there are not two sources, or for images of fewer than
            2x2 pixels.

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
    if min(fused.shape[-2:]) < 2:
        raise FusionkitError(
            f"Nabf needs images of at least 2x2 pixels, found "
            f"{fused.shape[-2]}x{fused.shape[-1]}; choose other metrics"
        )
    lost = fused.new_zeros(len(fused), dtype=torch.float64)
    weights = lost.clone()
    for square, alignment in compare_edges([fused, *sources], border="reflect", wrap=True):
        # Compare squares, which are exact; roots of equal strengths may differ in a bit.
        stronger = square[1:].clone().lt_(square[:1]).prod(dim=0)
        weight = square[1:].sqrt()
        weight.mul_(weight.sqrt()).mul_(_SCALE**-_EXPONENT).sub_(_LEAST_WEIGHT)
        weight.mul_(square[1:].clone().ge_((_SCALE * _LEAST_EDGE) ** 2)).add_(_LEAST_WEIGHT)
        weights += weight.sum(dim=(0, 2, 3), dtype=torch.float64)
        ratio = torch.minimum(square[1:], square[:1])
        ratio.div_(
            torch.maximum(square[1:], square[:1]).clamp_min_(torch.finfo(square.dtype).tiny)
        ).sqrt_()
        loss = _loss(_exponential(ratio, *_STRENGTH), _exponential(alignment, *_ANGLE))
        lost += loss.mul_(weight).mul_(stronger).sum(dim=(0, 2, 3), dtype=torch.float64)
    return lost / weights


def _exponential(x: Tensor, top: float, slope: float, middle: float) -> Tensor:
    """Return e of the sigmoid top / (1 + e)."""
    return x.mul_(-slope).add_(slope * middle).exp_()


def _loss(strength: Tensor, angle: Tensor) -> Tensor:
    """Return 1 - sqrt(top / ((1 + s) (1 + a))) of two exponentials without cancellation."""
    top = _STRENGTH[0] * _ANGLE[0]
    excess = (strength + angle).addcmul_(strength, angle)
    below = excess + 1
    return excess.add_(1 - top).div_(below.add_((below * top).sqrt_()))
