"""Does a fused image carry all of its sources, or has fusion collapsed onto one of them?

Fusion metrics hardly tell: a copy of a contrasty source scores well in EN, SD and VIF, and stripes
raise SF. These measures ask the question itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from fusionkit.functional.gradients import sobel

__all__ = [
    "LEAST_SHARE",
    "MOST_UNEXPLAINED",
    "Verdict",
    "intensity_shares",
    "shares",
    "unexplained",
    "verdict",
]

LEAST_SHARE = 0.5
"""A source is lost if its share is below this part of 1/m, what averaging m sources keeps."""

MOST_UNEXPLAINED = 0.35
"""A fused image with a larger part of its gradients from no source has made-up texture."""

_FLAT = 1e-6
"""Mean squared gradient of images in [0, 1] that counts as none: a quarter of a grey level."""


def shares(
    fused: Float[Tensor, "b 1 h w"], sources: Sequence[Float[Tensor, "b 1 h w"]]
) -> Float[Tensor, "b m"]:
    """Return how much of each source's own gradients the fused image carries.

    For source A, over the pixels where its Sobel gradient is the strongest of all sources:
    <grad F, grad A> / <grad A, grad A>. 1 for a source whose edges are all there at full strength,
    0 for one that is gone, negative for one that is reversed; averaging m unrelated sources gives
    1/m each, and a constant or random image 0. A source without gradients of its own has share 1,
    as nothing of it can be missing.

    Args:
        fused: (b, 1, h, w) in [0, 1].
        sources: m images of the same shape.

    Example:
        >>> noise = torch.rand(1, 1, 32, 32)
        >>> shares(noise, [noise, torch.zeros_like(noise)])  # nothing of a flat source is lost
        tensor([[1., 1.]])
    """
    gradient = _gradient(fused)
    gradients = torch.stack([_gradient(source) for source in sources])
    energy = gradients.square().sum(dim=2)
    strongest = energy.amax(dim=0)
    parts = []
    for index in range(len(sources)):
        own = (energy[index] == strongest).to(energy.dtype)
        carried = (gradients[index] * gradient).sum(dim=1) * own
        there = (energy[index] * own).sum(dim=(1, 2))
        least = _FLAT * own.shape[1] * own.shape[2]
        share = carried.sum(dim=(1, 2)) / there.clamp_min(least)
        parts.append(torch.where(there > least, share, 1.0))
    return torch.stack(parts, dim=1)


def intensity_shares(
    fused: Float[Tensor, "b 1 h w"], sources: Sequence[Float[Tensor, "b 1 h w"]]
) -> Float[Tensor, "b m"]:
    """Return the coefficients c of the least-squares fit F = c_0 + sum_m c_m A_m.

    (1, 0) for a copy of the first source, (1/2, 1/2) for the average, 0 for what is related to
    neither. As the fit sees all sources at once, what they have in common isn't counted twice. A
    little ridge keeps the coefficients finite where the sources are alike.

    Args:
        fused: (b, 1, h, w) in [0, 1].
        sources: m images of the same shape.

    Example:
        >>> noise = torch.rand(1, 1, 32, 32)
        >>> found = intensity_shares(noise, [noise, torch.zeros_like(noise)])
        >>> [round(c, 2) for c in found[0].tolist()]
        [1.0, 0.0]
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

    In each window W the fused gradient field is fitted by the sources' fields,
    min_c sum_W |grad F - sum_m c_m grad A_m|^2. The sum of what remains over the sum of
    |grad F|^2 is 0 for any fusion that weights its sources smoothly, and near 1 for stripes, grids
    and noise. 0 for a constant image, which makes nothing up.

    Args:
        fused: (b, 1, h, w) in [0, 1].
        sources: m images of the same shape.
        window: Side of the windows in pixels, odd.

    Example:
        >>> noise = torch.rand(1, 1, 32, 32)
        >>> round(unexplained(noise, [noise, torch.zeros_like(noise)]).item(), 2)
        0.0
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
    explained = (2 * fit * right).sum(dim=(-2, -1)) - (fit.transpose(-1, -2) @ gram @ fit)[
        ..., 0, 0
    ]
    remaining = (energy - explained).clamp_min(0).sum(dim=(1, 2))
    total = energy.sum(dim=(1, 2))
    least = _FLAT * energy.shape[1] * energy.shape[2]
    return torch.where(total > least, remaining / total.clamp_min(least), 0.0).to(fused.dtype)


@dataclass(frozen=True)
class Verdict:
    """Conclusion from the measures of a set of fused images.

    Attributes:
        shares: Mean share of each source's gradients.
        intensities: Mean coefficient of each source's intensities.
        unexplained: Mean part of the fused gradients that no source explains.
        problem: A sentence if fusion has collapsed, else None.

    Example:
        >>> found = verdict({"ir": 0.9, "vi": 0.8}, {"ir": 0.5, "vi": 0.5}, made_up=0.1)
        >>> found.problem is None
        True
    """

    shares: dict[str, float]
    intensities: dict[str, float]
    unexplained: float
    problem: str | None


def verdict(
    gradients: Mapping[str, float], intensities: Mapping[str, float], made_up: float
) -> Verdict:
    """Judge the mean measures of a set of images.

    Judges a set, not one image: a good method may copy one source where the other shows nothing.

    Args:
        gradients: Modality -> mean of ``shares``.
        intensities: Modality -> mean of ``intensity_shares``; reported, not judged, as a method
            may well take its brightness from one source and the details from all.
        made_up: Mean of ``unexplained``.

    Example:
        >>> gradients, intensities = {"ir": 0.9, "vi": 0.1}, {"ir": 1.0, "vi": 0.0}
        >>> found = verdict(gradients, intensities, 0.1)
        >>> found.problem.partition(":")[0]
        'fusion has collapsed onto ir'
    """
    weakest = min(gradients, key=lambda name: gradients[name])
    strongest = max(gradients, key=lambda name: gradients[name])
    least = LEAST_SHARE / len(gradients)
    problem = None
    if not all(math.isfinite(value) for value in (*gradients.values(), made_up)):
        problem = "the fused images hold values that are not finite"
    elif gradients[strongest] < least:
        problem = (
            f"the fused images have lost all sources: they carry {gradients[strongest]:.0%} of the "
            f"gradients of {strongest} and less of the others (expected: {least:.0%} or more)"
        )
    elif gradients[weakest] < least:
        problem = (
            f"fusion has collapsed onto {strongest}: the fused images carry "
            f"{gradients[weakest]:.0%} of the gradients of {weakest} (expected: {least:.0%} or "
            f"more)"
        )
    elif made_up > MOST_UNEXPLAINED:
        problem = (
            f"fusion makes texture up: {made_up:.0%} of the gradients of the fused images come "
            f"from no source (expected: {MOST_UNEXPLAINED:.0%} or less)"
        )
    return Verdict(dict(gradients), dict(intensities), made_up, problem)


def _gradient(x: Tensor) -> Float[Tensor, "b 2 h w"]:
    return sobel(x)[:, 0]


def _differences(x: Tensor) -> Float[Tensor, "b 2 h w"]:
    """First differences: Sobel does not see a grid with a period of two pixels."""
    across = F.pad(x[..., :, 1:] - x[..., :, :-1], (0, 1))
    down = F.pad(x[..., 1:, :] - x[..., :-1, :], (0, 0, 0, 1))
    return torch.cat((across, down), dim=1)


def _centred(x: Tensor) -> Tensor:
    flat = x.flatten(1).double()
    return flat - flat.mean(dim=1, keepdim=True)
