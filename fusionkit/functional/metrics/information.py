"""Information in the fused image and what it shares with the sources, from histograms."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from fusionkit.functional.metrics.levels import stretched
from fusionkit.functional.metrics.statistics import covariances

LEVELS = 256

_TSALLIS = 1.85
"""Order q of Tsallis' entropy that Cvejic et al. take."""


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


def normalized_mutual_information(
    fused: Float[Tensor, "b 1 h w"],
    sources: Sequence[Float[Tensor, "b 1 h w"]],
    *,
    of_sources: bool = False,
) -> Float[Tensor, " b"]:
    """NMI of Hossny et al. (Electronics Letters 2008): twice MI over the entropies, summed.

    Sum over the sources of 2 I(source; fused) / (H(source) + H(fused)). A pair of constant images
    counts as 0.

    Args:
        fused: (b, 1, h, w), 0 .. 255.
        sources: Images of the same shape.
        of_sources: Divide by the sum of the sources' entropies instead, and do not stretch the
            images to 0 .. 255 before (``zoo``).

    Example:
        >>> ramp = torch.arange(256.0).view(1, 1, 16, 16)
        >>> normalized_mutual_information(ramp, [ramp, ramp]).item()
        2.0
    """
    if not of_sources:
        fused, *sources = (stretched(x) for x in (fused, *sources))
    total = fused.new_zeros(fused.shape[0], dtype=torch.float64)
    below = total.clone()
    f = _levels(fused)
    for source in sources:
        joint = _joint(f, _levels(source))
        of_f, of_s = -_plogp(joint.sum(dim=2)), -_plogp(joint.sum(dim=1))
        shared = of_f + of_s + _plogp(joint.flatten(1))
        if of_sources:
            total += shared
            below += of_s
        else:
            total += _over(shared, of_f + of_s)
    return 2 * (_over(total, below) if of_sources else total)


def nonlinear_correlation(
    fused: Float[Tensor, "b 1 h w"],
    sources: Sequence[Float[Tensor, "b 1 h w"]],
    *,
    linear: bool = False,
) -> Float[Tensor, " b"]:
    """QNCIE of Q. Wang et al. (2008): nonlinear correlation information entropy, 0 to 1.

    1 minus the entropy, to the base of 256, of the eigenvalues of the matrix that correlates the
    fused image and its sources. Correlations are mutual informations to the base of 256 of images
    that are stretched to 0 .. 255.

    Args:
        fused: (b, 1, h, w), 0 .. 255.
        sources: Images of the same shape.
        linear: Take Pearson's correlations in their place (``zoo``).

    Example:
        >>> ramp = torch.arange(256.0).view(1, 1, 16, 16)
        >>> nonlinear_correlation(ramp, [ramp, ramp]).item()
        1.0
    """
    images = [fused, *sources]
    k, b = len(images), fused.shape[0]
    if linear:
        c = covariances(images)
        deviations = c.diagonal(dim1=1, dim2=2).sqrt()
        matrix = _over(c, deviations[:, :, None] * deviations[:, None, :])
    else:
        matrix = fused.new_zeros((b, k, k), dtype=torch.float64)
        levels = [_levels(stretched(x)) for x in images]
        for i in range(k):
            for j in range(i):
                joint = _joint(levels[i], levels[j])
                shared = _plogp(joint.flatten(1)) - _plogp(joint.sum(dim=1))
                shared -= _plogp(joint.sum(dim=2))
                matrix[:, i, j] = matrix[:, j, i] = shared / math.log(LEVELS)
    matrix.diagonal(dim1=1, dim2=2).fill_(1)
    parts = torch.linalg.eigvalsh(matrix).clamp_min(0) / k
    return 1 + _plogp(parts) / math.log(LEVELS)


def tsallis_information(
    fused: Float[Tensor, "b 1 h w"],
    sources: Sequence[Float[Tensor, "b 1 h w"]],
    *,
    exchanged: bool = False,
) -> Float[Tensor, " b"]:
    """TE of Cvejic et al. (Electronics Letters 2006): mutual information of Tsallis, summed.

    Sum over the sources of (1 - sum p(s, f)^q / (p(s) p(f))^(q - 1)) / (1 - q) with q = 1.85,
    from 256 levels.

    Args:
        fused: (b, 1, h, w), 0 .. 255.
        sources: Images of the same shape.
        exchanged: Stretch the images to 0 .. 255 before, and take the fused image's frequency of
            the source's level and the reverse in the denominator, as ``liu`` does by an exchange
            of two names. Pairs of levels for which one of them is 0 are left out there, so that
            the value is negative for images with few levels in common.

    Example:
        >>> halves = torch.tensor([0.0, 255.0]).repeat(1, 1, 16, 8)
        >>> tsallis_information(halves, [halves]).item() - (2**0.85 - 1) / 0.85
        0.0
    """
    if exchanged:
        fused, *sources = (stretched(x) for x in (fused, *sources))
    total = fused.new_zeros(fused.shape[0], dtype=torch.float64)
    f = _levels(fused)
    for source in sources:
        joint = _joint(f, _levels(source))
        outer = joint.sum(dim=2)[:, :, None] * joint.sum(dim=1)[:, None, :]
        if exchanged:
            outer = outer.mT
        kept = joint.pow(_TSALLIS) * torch.where(outer > 0, outer, math.inf).pow(1 - _TSALLIS)
        total += (1 - kept.sum(dim=(1, 2))) / (1 - _TSALLIS)
    return total


def cross_entropy(
    fused: Float[Tensor, "b 1 h w"],
    sources: Sequence[Float[Tensor, "b 1 h w"]],
    *,
    of_pixels: bool = False,
) -> Float[Tensor, " b"]:
    """CE (Bulanon et al., 2009): mean over the sources of sum p(s) log2(p(s) / p(f)), in bits.

    The sum is over the levels that both images have, as in VIFB. If the fused image is constant,
    the levels that it lacks count as one pixel of it; the sum would be best there otherwise.

    Args:
        fused: (b, 1, h, w), 0 .. 255.
        sources: Images of the same shape.
        of_pixels: The binary cross entropy between the sigmoids of the grey levels instead, those
            of the sources averaged (``zoo``). Sigmoids of levels above 16 are 1, so that it
            depends on the darkest pixels only.

    Example:
        >>> ramp = torch.arange(256.0).view(1, 1, 16, 16)
        >>> cross_entropy(ramp, [ramp, ramp]).item()
        0.0
    """
    if of_pixels:
        target = torch.stack([x.sigmoid() for x in sources]).mean(dim=0).clamp_(1e-7, 1 - 1e-7)
        given = fused.sigmoid().clamp_(1e-7, 1 - 1e-7)
        loss = F.binary_cross_entropy(given, target, reduction="none")
        return loss.mean(dim=(1, 2, 3), dtype=torch.float64)
    p_f = _histogram(_levels(fused), LEVELS)
    constant = (p_f == 1).any(dim=1, keepdim=True)
    p_f = torch.where(constant & (p_f == 0), 1 / fused[0].numel(), p_f)
    total = torch.zeros_like(p_f[:, 0])
    for source in sources:
        p_s = torch.where(p_f > 0, _histogram(_levels(source), LEVELS), 0)
        total += _plogp(p_s) - torch.xlogy(p_s, torch.where(p_s > 0, p_f, 1)).sum(dim=1)
    return total / (len(sources) * math.log(2))


def _joint(first: Int[Tensor, "b n"], second: Int[Tensor, "b n"]) -> Float[Tensor, "b 256 256"]:
    """Return joint frequencies: rows are levels of the first image."""
    return _histogram(first * LEVELS + second, LEVELS * LEVELS).unflatten(1, (LEVELS, LEVELS))


def _over(value: Tensor, total: Tensor) -> Tensor:
    """Return the ratio; 0 where the total is 0."""
    return torch.where(total > 0, value / total.clamp_min(1e-300), 0.0)


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
