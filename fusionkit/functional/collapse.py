"""Does a fused image carry all of its sources, or has fusion collapsed onto one of them?

Fusion metrics hardly tell: a copy of a contrasty source scores well in EN, SD and VIF, and stripes
raise SF. These measures ask the question itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from kornia.filters import spatial_gradient
from torch import Tensor
from torch.nn import functional as F

__all__ = [
    "LEAST_SHARE",
    "MOST_UNEXPLAINED",
    "Verdict",
    "intensity_shares",
    "shares",
    "unexplained",
    "verdict",
]

LEAST_SHARE = 0.25
"""A fused image that carries less of a source's own gradients has lost that source."""

MOST_UNEXPLAINED = 0.35
"""A fused image with a larger part of its gradients from no source has made-up texture."""

_TINY = 1e-12


def shares(
    fused: Float[Tensor, "b 1 h w"], sources: Sequence[Float[Tensor, "b 1 h w"]]
) -> Float[Tensor, "b m"]:
    """Return how much of each source's own gradients the fused image carries.

    For source A, over the pixels where its Sobel gradient is the strongest of all sources:
    <grad F, grad A> / <grad A, grad A>. 1 for a source whose edges are all there at full strength,
    0 for one that is gone; averaging m unrelated sources gives 1/m each. A source without
    gradients of its own has share 1, as nothing of it can be missing.
    """
    gradient = _gradient(fused)
    gradients = torch.stack([_gradient(source) for source in sources])
    energy = gradients.square().sum(dim=2)
    strongest = energy.argmax(dim=0)
    parts = []
    for index in range(len(sources)):
        own = (strongest == index).to(energy.dtype)
        carried = (gradients[index] * gradient).sum(dim=1) * own
        there = (energy[index] * own).sum(dim=(1, 2))
        share = carried.sum(dim=(1, 2)) / there.clamp_min(_TINY)
        parts.append(torch.where(there > 1e-6 * own.shape[1] * own.shape[2], share, 1.0))
    return torch.stack(parts, dim=1)


def intensity_shares(
    fused: Float[Tensor, "b 1 h w"], sources: Sequence[Float[Tensor, "b 1 h w"]]
) -> Float[Tensor, "b m"]:
    """Return the coefficients c of the least-squares fit F = c_0 + sum_m c_m A_m.

    (1, 0) for a copy of the first source, (1/2, 1/2) for the average. A little ridge keeps them
    finite where the sources are alike.
    """
    target = _centred(fused)
    design = torch.stack([_centred(source) for source in sources], dim=1)
    gram = design @ design.transpose(1, 2)
    ridge = 1e-4 * gram.diagonal(dim1=1, dim2=2).mean(dim=1) + 1e-9
    eye = torch.eye(len(sources), dtype=gram.dtype, device=gram.device)
    right = design @ target[:, :, None]
    return torch.linalg.solve(gram + ridge[:, None, None] * eye, right)[..., 0].to(fused.dtype)


def unexplained(
    fused: Float[Tensor, "b 1 h w"],
    sources: Sequence[Float[Tensor, "b 1 h w"]],
    window: int = 7,
) -> Float[Tensor, " b"]:
    """Return the part of the fused gradients' energy that no local mix of the sources' explains.

    In each window the fused gradient field is fitted by a linear combination of the sources'
    fields; the energy of what remains, over the energy of all, is 0 for any fusion that weights
    its sources locally, and near 1 for stripes, grids, and noise. 0 for a constant image.
    """
    target = _differences(fused).double()
    design = torch.stack([_differences(source) for source in sources]).double()

    def local(x: Tensor) -> Tensor:
        """Sum over both directions and the window."""
        summed = x.sum(dim=1, keepdim=True)
        return F.avg_pool2d(summed, window, stride=1, padding=window // 2)[:, 0]

    m = len(sources)
    gram = torch.stack(
        [torch.stack([local(design[i] * design[j]) for j in range(m)], -1) for i in range(m)], -2
    )
    right = torch.stack([local(design[i] * target) for i in range(m)], dim=-1)[..., None]
    ridge = 1e-3 * gram.diagonal(dim1=-2, dim2=-1).mean(dim=-1) + 1e-9
    eye = torch.eye(m, dtype=gram.dtype, device=gram.device)
    fit = torch.linalg.solve(gram + ridge[..., None, None] * eye, right)
    energy = local(target.square())
    explained = (2 * fit * right).sum(dim=(-2, -1)) - (
        fit.transpose(-1, -2) @ gram @ fit
    )[..., 0, 0]
    remaining = (energy - explained).clamp_min(0).sum(dim=(1, 2))
    total = energy.sum(dim=(1, 2))
    return torch.where(total > _TINY, remaining / total.clamp_min(_TINY), 0.0).to(fused.dtype)


@dataclass(frozen=True)
class Verdict:
    """What the measures say of a set of fused images.

    Attributes:
        shares: Mean share of each source's gradients.
        intensities: Mean coefficient of each source's intensities.
        unexplained: Mean part of the fused gradients that no source explains.
        problem: A sentence if fusion has collapsed, else None.
    """

    shares: dict[str, float]
    intensities: dict[str, float]
    unexplained: float
    problem: str | None


def verdict(
    gradients: dict[str, float], intensities: dict[str, float], unexplained: float
) -> Verdict:
    """Judge mean measures of a set of images."""
    weakest = min(gradients, key=lambda name: gradients[name])
    problem = None
    if gradients[weakest] < LEAST_SHARE:
        problem = (
            f"fusion has collapsed: the fused images carry {gradients[weakest]:.0%} of the "
            f"gradients of {weakest} (less than {LEAST_SHARE:.0%})"
        )
    elif unexplained > MOST_UNEXPLAINED:
        problem = (
            f"fusion makes texture up: {unexplained:.0%} of the gradients of the fused images "
            f"come from no source (more than {MOST_UNEXPLAINED:.0%})"
        )
    return Verdict(gradients, intensities, unexplained, problem)


def _gradient(x: Tensor) -> Float[Tensor, "b 2 h w"]:
    return spatial_gradient(x)[:, 0]


def _differences(x: Tensor) -> Float[Tensor, "b 2 h w"]:
    """First differences: Sobel does not see a grid with a period of two pixels."""
    across = F.pad(x[..., :, 1:] - x[..., :, :-1], (0, 1))
    down = F.pad(x[..., 1:, :] - x[..., :-1, :], (0, 0, 0, 1))
    return torch.cat((across, down), dim=1)


def _centred(x: Tensor) -> Tensor:
    flat = x.flatten(1).double()
    return flat - flat.mean(dim=1, keepdim=True)
