"""First- and second-order statistics: SD, CC, SCD, MSE, PSNR."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

_PIXELS = 2**15
"""Pixels of an image that are summed at a time: few enough to stay in the CPU cache."""


def standard_deviation(fused: Float[Tensor, "b 1 h w"]) -> Float[Tensor, " b"]:
    """SD, of the population.

    Example:
        >>> stripes = torch.tensor([0.0, 255.0]).repeat(1, 1, 64, 32)
        >>> standard_deviation(stripes).item()
        127.5
    """
    return fused.double().flatten(1).std(dim=1, correction=0)


def correlation(
    fused: Float[Tensor, "b 1 h w"], sources: Sequence[Float[Tensor, "b 1 h w"]]
) -> Float[Tensor, " b"]:
    """CC = mean over the sources of Pearson's r with the fused image.

    Example:
        >>> ramp = torch.arange(256.0).view(1, 1, 16, 16)
        >>> correlation(ramp, [ramp, 255 - ramp]).item()
        0.0
    """
    c = covariances([fused, *sources])
    c_f, c_s = c[:, :1, 0], c[:, 1:, 1:].diagonal(dim1=1, dim2=2)
    return _ratio(c[:, 0, 1:], c_f, c_s).mean(dim=1)


def differences_correlation(
    fused: Float[Tensor, "b 1 h w"], sources: Sequence[Float[Tensor, "b 1 h w"]]
) -> Float[Tensor, " b"]:
    """SCD = sum over the sources A of r(F - B, A), where B is the mean of the other sources.

    Aslantas and Bendes, AEU 2015: what A contributed is what is left when B is taken away.

    Example:
        >>> ramp = torch.arange(256.0).view(1, 1, 16, 16)
        >>> round(differences_correlation(ramp, [ramp, 0 * ramp]).item(), 4)
        1.0
    """
    c = covariances([fused, *sources])
    total = c.new_zeros(len(c))
    for k in range(1, len(sources) + 1):
        # The difference of the fused image and the mean of the others, as a weighted sum.
        weights = c.new_full((len(sources) + 1,), -1 / max(1, len(sources) - 1))
        weights[0], weights[k] = 1, 0
        variance = torch.einsum("i,bij,j->b", weights, c, weights)
        # What rounding leaves of images that differ by a constant is no variance.
        scale = torch.einsum("i,bii->b", weights.square(), c)
        variance = torch.where(variance > 1e-12 * scale, variance, 0.0)
        total += _ratio(c[:, k] @ weights, variance, c[:, k, k])
    return total


def mean_squared_error(
    fused: Float[Tensor, "b 1 h w"],
    sources: Sequence[Float[Tensor, "b 1 h w"]],
    *,
    white: float = 255.0,
) -> Float[Tensor, " b"]:
    """MSE = mean over the sources of the mean squared difference.

    Args:
        fused: (b, 1, h, w), 0 .. 255.
        sources: Images of the same shape.
        white: Value of the level 255; 1 for images in [0, 1] (``tang``, ``zoo``).

    Example:
        >>> ramp = torch.arange(256.0).view(1, 1, 16, 16)
        >>> mean_squared_error(ramp, [ramp, ramp + 2]).item()
        2.0
    """
    errors = []
    for source in sources:
        difference = source - fused
        errors.append(difference.mul_(difference).mean(dim=(1, 2, 3), dtype=torch.float64))
    return torch.stack(errors).mean(dim=0) * (white / 255) ** 2


def peak_signal_to_noise(
    fused: Float[Tensor, "b 1 h w"],
    sources: Sequence[Float[Tensor, "b 1 h w"]],
    *,
    white: float = 255.0,
    peak: float | None = None,
) -> Float[Tensor, " b"]:
    """PSNR = 20 log10(peak / sqrt(MSE)) in dB, where MSE is that of ``mean_squared_error``.

    MSE counts as at least 1e-10 and the peak as at least 1, so that the value stays finite.

    Args:
        fused: (b, 1, h, w), 0 .. 255.
        sources: Images of the same shape.
        white: Value of the level 255 in the error.
        peak: The fused image's own maximum if None, an oddity of ``cddfuse``. ``tang`` and ``zoo``
            take 255 with an error of images in 0 .. 1, 48.13 dB above the usual value.

    Example:
        >>> ramp = torch.arange(256.0).view(1, 1, 16, 16)
        >>> round(peak_signal_to_noise(ramp, [ramp + 1], peak=255.0).item(), 2)
        48.13
    """
    error = mean_squared_error(fused, sources, white=white).clamp_min(1e-10)
    own = fused.double().amax(dim=(1, 2, 3)).clamp_min(1)
    return 20 * torch.log10((own if peak is None else torch.full_like(own, peak)) / error.sqrt())


def _ratio(covariance: Tensor, variance: Tensor, other: Tensor) -> Tensor:
    """Return Pearson's r; 0 where one of the images is constant."""
    norms = (variance * other).clamp_min_(0).sqrt()
    return torch.where(norms > 0, covariance / norms.clamp_min(1e-300), 0.0)


def covariances(images: Sequence[Float[Tensor, "b 1 h w"]]) -> Float[Tensor, "b k k"]:
    """Return the covariances of the images with each other.

    Sums of products of whole numbers are exact, so the variance of a constant image is 0.

    Args:
        images: k images of 0 .. 255.

    Example:
        >>> stripes = torch.tensor([0.0, 2.0]).repeat(1, 1, 4, 2)
        >>> covariances([stripes, -stripes]).tolist()
        [[[1.0, -1.0], [-1.0, 1.0]]]
    """
    b, k, count = len(images[0]), len(images), images[0][0].numel()
    flat = [x.flatten(1) for x in images]
    products = torch.zeros((b, k + 1, k + 1), dtype=torch.float64, device=flat[0].device)
    buffer = products.new_ones(k + 1, _PIXELS)  # a row of ones gives the sums
    for n in range(b):
        centres = [float(x[n].mean(dtype=torch.float64).round()) for x in flat]
        for start in range(0, count, _PIXELS):
            parts = buffer[:, : min(_PIXELS, count - start)]
            for row, x, centre in zip(parts[1:], flat, centres, strict=True):
                torch.sub(x[n, start : start + _PIXELS], centre, out=row)
            products[n].addmm_(parts, parts.mT)
    products /= count
    means = products[:, 0, 1:]
    return products[:, 1:, 1:] - means[:, :, None] * means[:, None, :]
