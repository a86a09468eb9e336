"""Qabf: how much of the sources' edges the fused image carries."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from fusionkit.functional.metrics.edges import compare_edges

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
    for square, alignment in compare_edges([fused, *sources], border="zeros", wrap=textbook):
        strength = square.sqrt()
        total += strength[1:].sum(dim=(0, 2, 3), dtype=torch.float64)
        square.clamp_min_(torch.finfo(square.dtype).tiny)
        ratio = torch.minimum(square[1:], square[:1])
        ratio.div_(torch.maximum(square[1:], square[:1])).sqrt_()
        if not textbook:
            tie = square[1:].eq_(square[:1])
            ratio.addcmul_(tie, strength[:1] - 1)
        # Compute both sigmoids with one division.
        below = _below(ratio, *_STRENGTH).mul_(_below(alignment, *_ANGLE))
        kept += strength[1:].div_(below).sum(dim=(0, 2, 3), dtype=torch.float64)
    kept *= _STRENGTH[0] * _ANGLE[0]
    return torch.where(total > 0, kept / total.clamp_min(1e-12), torch.zeros_like(total))


def _below(x: Tensor, top: float, slope: float, middle: float) -> Tensor:
    """Return what the top of a sigmoid is divided by."""
    return x.mul_(slope).sub_(slope * middle).exp_().add_(1)
