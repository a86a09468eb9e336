"""Visual information fidelity, pixel domain, over four scales."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from fusionkit.errors import FusionkitError

SMALLEST = 41
"""Least height and width for which all four scales have a pixel."""

_NOISE = 2.0
_EPSILON = 1e-10
_TILE = 24


def visual_information_fidelity(
    fused: Float[Tensor, "b 1 h w"],
    sources: Sequence[Float[Tensor, "b 1 h w"]],
    *,
    average: bool = False,
    padded: bool = False,
) -> Float[Tensor, " b"]:
    """VIF = sum over the sources of VIFp(reference=source, distorted=fused).

    Sheikh and Bovik, IEEE TIP 2006, pixel-domain version: Gaussian windows of 17, 9, 5 and 3
    pixels with sigma = N/5, valid convolution, noise variance 2. A source without any variance,
    which has no information to lose, counts as 1.

    Args:
        fused: (b, 1, h, w), 0 .. 255.
        sources: Images of the same shape.
        average: The mean over the sources instead of their sum (``vfbench``).
        padded: Zeros around the images, and windows half a pixel off their centre (``zoo``).

    Raises:
        FusionkitError: for images of fewer than 41 pixels a side.
    """
    if min(fused.shape[-2:]) < SMALLEST:
        raise FusionkitError(
            f"VIF needs images of at least {SMALLEST}x{SMALLEST} pixels, "
            f"found {fused.shape[-2]}x{fused.shape[-1]}; choose other metrics"
        )
    # One image at a time: what a scale works on then stays in a processor's cache.
    images = torch.stack([fused, *sources]).unbind(dim=1)
    total = torch.stack([_vifp(image[0], image[1:], padded).sum() for image in images])
    return total / len(sources) if average else total


def _vifp(
    fused: Float[Tensor, "1 h w"], sources: Float[Tensor, "m 1 h w"], padded: bool
) -> Float[Tensor, " m"]:
    """Return VIFp of one image against each of its sources."""
    fused, sources = fused.double(), sources.double()
    if not padded:
        # Variances don't change with the mean; without it the subtractions below lose less.
        fused = fused - fused.mean()
        sources = sources - sources.mean(dim=(1, 2, 3), keepdim=True)
    kept = sources.new_zeros(len(sources))
    there = kept.clone()
    for size in (17, 9, 5, 3):
        window = (_off_centre(size) if padded else _gaussian(size)).to(fused.device)
        margin = size // 2 if padded else 0
        if size < 17:
            fused, sources = (_blur(_zeros(x, margin), window, step=2) for x in (fused, sources))
        # Padding comes before squares and products, whose zeros are those of the images.
        kept_here, there_here = _information(_zeros(fused, margin), _zeros(sources, margin), window)
        kept += kept_here
        there += there_here
    return torch.where(there > 0, kept / there.clamp_min(1e-30), 1.0)


def _information(
    fused: Float[Tensor, "1 h w"], sources: Float[Tensor, "m 1 h w"], window: Float[Tensor, " n"]
) -> tuple[Float[Tensor, " m"], Float[Tensor, " m"]]:
    """Return what the fused image keeps of each source's information at one scale, and all of it.

    The gain g and the residue v of the local model F = g A + noise of variance v give
    log(1 + g^2 var(A) / (v + 2)) and log(1 + var(A) / 2), summed over the pixels; the definition's
    base 10 cancels in their ratio.
    """
    mean_f, mean_s = _blur(fused, window), _blur(sources, window)
    var_f = _blur(fused**2, window).addcmul(mean_f, mean_f, value=-1).clamp_min_(0)
    var_s = _blur(sources**2, window).addcmul(mean_s, mean_s, value=-1).clamp_min_(0)
    covariance = _blur(fused * sources, window).addcmul(mean_f, mean_s, value=-1)
    gain = covariance / (var_s + _EPSILON)
    residue = var_f - gain * covariance
    # Where one of the two is flat the model has no gain; nor does a reversed image pass for one.
    flat_f, flat_s = var_f < _EPSILON, var_s < _EPSILON
    lost = (gain <= 0) | flat_s | flat_f
    gain = gain.masked_fill_(lost, 0)
    signal = gain.square_().mul_(var_s.masked_fill(flat_s, 0))
    kept = signal.div_(residue.clamp_min_(_EPSILON).add_(_NOISE)).add_(1).log_()
    there = var_s.masked_fill_(flat_s, 0).div_(_NOISE).add_(1).log_()
    return kept.sum(dim=(1, 2, 3)), there.sum(dim=(1, 2, 3))


def _gaussian(size: int) -> Float[Tensor, " n"]:
    offsets = torch.arange(size, dtype=torch.float64) - size // 2
    weights = torch.exp(-(offsets**2) / (2 * (size / 5) ** 2))
    return weights / weights.sum()


def _off_centre(size: int) -> Float[Tensor, " n"]:
    """The window of ``zoo``: from -(n + 1)/2 to (n - 1)/2 in n steps."""
    offsets = torch.linspace(-(size + 1) // 2, size // 2, size, dtype=torch.float64)
    weights = torch.exp(-(offsets**2) / (2 * (size / 5) ** 2))
    return weights / weights.sum()


def _zeros(x: Float[Tensor, "*b h w"], margin: int) -> Float[Tensor, "*b h2 w2"]:
    return F.pad(x, (margin,) * 4) if margin else x


def _blur(
    x: Float[Tensor, "*b h w"], window: Float[Tensor, " n"], step: int = 1
) -> Float[Tensor, "*b h2 w2"]:
    """Correlate with the window in both directions; every ``step``-th valid pixel.

    A strip of 24 results is the product of a banded matrix with the pixels that it depends on:
    several times faster on a CPU than torch's convolution of float64.
    """
    n = len(window)
    height, width = ((side - n) // step + 1 for side in x.shape[-2:])
    reach = step * (_TILE - 1) + n
    band = x.new_zeros(_TILE, reach)
    for row in range(_TILE):
        band[row, row * step : row * step + n] = window
    needed = (_TILE * step * -(-count // _TILE) - step + n for count in (height, width))
    bottom, right = (count - side for count, side in zip(needed, x.shape[-2:], strict=True))
    x = F.pad(x, (0, right, 0, bottom))
    strips = x.unfold(-2, reach, _TILE * step)  # (*b, strip, w, pixel)
    x = (band @ strips.transpose(-1, -2)).flatten(-3, -2)
    strips = x.unfold(-1, reach, _TILE * step)  # (*b, h, strip, pixel)
    return F.linear(strips.contiguous(), band).flatten(-2)[..., :height, :width]
