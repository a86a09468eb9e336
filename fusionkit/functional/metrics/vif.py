"""Visual information fidelity, pixel domain, over four scales."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from fusionkit.errors import FusionkitError

SMALLEST = 41
"""Least height and width for which all four scales have a pixel."""

_NOISE = 2.0
_EPSILON = 1e-10


def visual_information_fidelity(
    fused: Float[Tensor, "b 1 h w"], sources: Sequence[Float[Tensor, "b 1 h w"]]
) -> Float[Tensor, " b"]:
    """VIF = sum over the sources of VIFp(reference=source, distorted=fused).

    Sheikh and Bovik, IEEE TIP 2006, pixel-domain version: Gaussian windows of 17, 9, 5 and 3
    pixels with sigma = N/5, valid convolution, noise variance 2. A source without any variance,
    which has no information to lose, counts as 1.

    Raises:
        FusionkitError: for images of fewer than 41 pixels a side.
    """
    if min(fused.shape[-2:]) < SMALLEST:
        raise FusionkitError(
            f"VIF needs images of at least {SMALLEST}x{SMALLEST} pixels, "
            f"found {fused.shape[-2]}x{fused.shape[-1]}; choose other metrics"
        )
    count = len(sources)
    values = _vifp(torch.cat(list(sources)), fused.repeat(count, 1, 1, 1))
    return values.view(count, -1).sum(dim=0)


def _vifp(reference: Tensor, distorted: Tensor) -> Tensor:
    # Variances don't change with the mean; without it the subtractions below lose less.
    shift = reference.double().mean(dim=(1, 2, 3), keepdim=True)
    reference, distorted = reference.double() - shift, distorted.double() - shift
    kept = reference.new_zeros(reference.shape[0])
    there = kept.clone()
    for scale in range(1, 5):
        window = _gaussian(2 ** (5 - scale) + 1).to(reference.device)
        if scale > 1:
            reference = _blur(reference, window)[..., ::2, ::2]
            distorted = _blur(distorted, window)[..., ::2, ::2]
        mean_r, mean_d = _blur(reference, window), _blur(distorted, window)
        var_r = (_blur(reference * reference, window) - mean_r**2).clamp_min(0)
        var_d = (_blur(distorted * distorted, window) - mean_d**2).clamp_min(0)
        covariance = _blur(reference * distorted, window) - mean_r * mean_d
        gain = covariance / (var_r + _EPSILON)
        residue = var_d - gain * covariance
        flat_r, flat_d = var_r < _EPSILON, var_d < _EPSILON
        gain = gain.masked_fill(flat_r | flat_d, 0)
        residue = torch.where(flat_r, var_d, residue).masked_fill(flat_d, 0)
        var_r = var_r.masked_fill(flat_r, 0)
        residue = torch.where(gain < 0, var_d, residue).clamp_min(_EPSILON)
        gain = gain.clamp_min(0)
        kept += torch.log10(1 + gain**2 * var_r / (residue + _NOISE)).sum(dim=(1, 2, 3))
        there += torch.log10(1 + var_r / _NOISE).sum(dim=(1, 2, 3))
    return torch.where(there > 0, kept / there.clamp_min(1e-30), torch.ones_like(kept))


def _gaussian(size: int) -> Float[Tensor, " n"]:
    offsets = torch.arange(size, dtype=torch.float64) - size // 2
    weights = torch.exp(-(offsets**2) / (2 * (size / 5) ** 2))
    return weights / weights.sum()


def _blur(x: Tensor, window: Tensor) -> Tensor:
    """Convolve with the window in both directions, valid pixels only.

    As sums of shifted images: the window is symmetric, so pairs share a product, and this beats
    torch's float64 convolution on a CPU several times over.
    """
    for axis in (-2, -1):
        size = len(window)
        length = x.shape[axis] - size + 1
        half = size // 2
        total = x.narrow(axis, half, length) * window[half]
        for k in range(half):
            pair = x.narrow(axis, k, length) + x.narrow(axis, size - 1 - k, length)
            total += pair * window[k]
        x = total
    return x
