"""Visual information fidelity, pixel domain, over four scales."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from fusionkit.errors import FusionkitError
from fusionkit.functional.metrics.moments import local_moments
from fusionkit.functional.windows import gaussian_weights, gaussian_window

SMALLEST = 41
"""Least height and width for which all four scales have a pixel."""

_NOISE = 2.0
_EPSILON = 1e-10
_TILE, _STEP_TILE = 24, 12
"""Results of a product of matrices: few multiply many zeros, more make a matrix too small."""


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
        average: Whether to return the mean over the sources, not the sum (``vfbench``).
        padded: Whether to pad with zeros and place windows half a pixel off (``zoo``).

    Raises:
        FusionkitError: for images of fewer than 41 pixels a side.

    Example:
        >>> step = torch.zeros(1, 1, 48, 48)
        >>> step[..., 24:] = 255
        >>> round(visual_information_fidelity(step, [step, step]).item(), 4)
        2.0
    """
    if min(fused.shape[-2:]) < SMALLEST:
        raise FusionkitError(
            f"VIF needs images of at least {SMALLEST}x{SMALLEST} pixels, "
            f"found {fused.shape[-2]}x{fused.shape[-1]}; choose other metrics"
        )
    # One image at a time, so that the data of a scale stays in the CPU cache.
    total = torch.stack(
        [_vifp([x[n, 0] for x in (fused, *sources)], padded).sum() for n in range(len(fused))]
    )
    return total / len(sources) if average else total


def _vifp(originals: Sequence[Float[Tensor, "h w"]], padded: bool) -> Float[Tensor, " m"]:
    """Return VIFp of the first image against each of the others, its sources."""
    first = originals[0]
    images = first.new_empty((len(originals), *first.shape), dtype=torch.float64)
    for image, original in zip(images, originals, strict=True):
        image.copy_(original)
    if not padded:
        # Variances do not depend on the mean; subtracting it first loses less precision.
        images -= images.mean(dim=(1, 2), keepdim=True)
    kept = images.new_zeros(len(images) - 1)
    there = kept.clone()
    for size in (17, 9, 5, 3):
        window = (_off_centre(size) if padded else _gaussian(size)).to(images.device)
        margin = size // 2 if padded else 0
        if size < 17:
            images = _downsample(_zeros(images, margin), window)
        # Pad before taking squares and products, so that their borders are zero as well.
        kept_here, there_here = _information(_zeros(images, margin), window)
        kept += kept_here
        there += there_here
    return torch.where(there > 0, kept / there.clamp_min(1e-30), 1.0)


def _information(
    images: Float[Tensor, "k h w"], window: Float[Tensor, " n"]
) -> tuple[Float[Tensor, " m"], Float[Tensor, " m"]]:
    """Return what the first image keeps of each other's information at one scale, and all of it.

    The gain g and the residue v of the local model F = g A + noise of variance v give
    log(1 + g^2 var(A) / (v + 2)) and log(1 + var(A) / 2), summed over the pixels; the definition's
    base 10 cancels in their ratio.
    """
    kept = images.new_zeros(len(images) - 1)
    there = kept.clone()
    for _, variances, covariances in local_moments(
        list(images), _Blur(window), len(window), rows=_TILE
    ):
        # A flat source has no information to lose; rounding may leave its variance below 0.
        var_f, var_s = variances[:1], F.threshold(variances[1:], _EPSILON, 0.0)
        # An inverted image carries no information about the source.
        gain = (covariances / (var_s + _EPSILON)).clamp_min_(0)
        residue = torch.addcmul(var_f, gain, covariances, value=-1)
        signal = gain.square_().mul_(var_s).div_(residue.clamp_min_(_EPSILON).add_(_NOISE))
        # One logarithm of the product of a column, since logarithms take most of the time. Its at
        # most 24 factors of at most 2 ** 15 can't overflow.
        kept += signal.add_(1).prod(dim=1).log_().sum(dim=1)
        there += var_s.div_(_NOISE).add_(1).prod(dim=1).log_().sum(dim=1)
    return kept, there


def _gaussian(size: int) -> Float[Tensor, " n"]:
    return gaussian_window(size, size / 5, dtype=torch.float64)


def _off_centre(size: int) -> Float[Tensor, " n"]:
    """Return the window of ``zoo``: from -(n + 1)/2 to (n - 1)/2 in n steps."""
    offsets = torch.linspace(-(size + 1) // 2, size // 2, size, dtype=torch.float64)
    return gaussian_weights(offsets, size / 5)


def _zeros(x: Float[Tensor, "*b h w"], margin: int) -> Float[Tensor, "*b h2 w2"]:
    return F.pad(x, (margin,) * 4) if margin else x


def _downsample(x: Float[Tensor, "k h w"], window: Float[Tensor, " n"]) -> Tensor:
    """Blur with a window and keep every second pixel, (k, h2, w2)."""
    blur = _Blur(window, _STEP_TILE, step=2)
    height, width = ((side - len(window)) // 2 + 1 for side in x.shape[-2:])
    result = x.new_empty(len(x), height, width)
    for top in range(0, height, _STEP_TILE):
        count = min(_STEP_TILE, height - top)
        rows = x[:, 2 * top : 2 * (top + count - 1) + len(window)]
        result[:, top : top + count] = blur(rows)
    return result


class _Blur:
    """Correlates a strip with a window in both directions; every ``step``-th valid pixel.

    The results of a tile are the product of a banded matrix with the pixels that they depend on:
    several times faster on a CPU than torch's convolution of float64.

    Args:
        window: (n,), weights along an axis.
        tile: Most rows of results, and the columns of a tile.
        step: Distance of the results in pixels.
    """

    def __init__(self, window: Float[Tensor, " n"], tile: int = _TILE, step: int = 1):
        self.length, self.tile, self.step = len(window), tile, step
        self.band = window.new_zeros(tile, step * (tile - 1) + len(window))
        for row in range(tile):
            self.band[row, row * step : row * step + len(window)] = window

    def __call__(self, x: Float[Tensor, "k h w"]) -> Float[Tensor, "k h2 w2"]:
        height, width = ((side - self.length) // self.step + 1 for side in x.shape[-2:])
        x = self._of(height) @ x
        tiles, rest = divmod(width, self.tile)
        parts, hop = [], self.tile * self.step
        if tiles:
            pixels = x.unfold(-1, self.band.shape[1], hop)[..., :tiles, :]  # (k, h2, tile, pixel)
            parts.append(F.linear(pixels.contiguous(), self.band).flatten(-2))
        if rest:
            band = self._of(rest)
            parts.append(F.linear(x[..., tiles * hop : tiles * hop + band.shape[1]], band))
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)

    def _of(self, count: int) -> Float[Tensor, "count n"]:
        """Return the matrix for fewer results than a tile has."""
        return self.band[:count, : self.step * (count - 1) + self.length]
