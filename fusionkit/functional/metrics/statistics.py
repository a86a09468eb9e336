"""First- and second-order statistics: SD, CC, SCD, MSE, PSNR."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


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
    return torch.stack([pearson(source, fused) for source in sources]).mean(dim=0)


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
    total = sum(s.double() for s in sources)
    others = len(sources) - 1
    parts = []
    for source in sources:
        rest = (total - source.double()) / max(1, others)
        parts.append(pearson(fused.double() - rest, source))
    return torch.stack(parts).sum(dim=0)


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
    errors = [(s - fused).square_().mean(dim=(1, 2, 3), dtype=torch.float64) for s in sources]
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


def pearson(a: Float[Tensor, "b 1 h w"], b: Float[Tensor, "b 1 h w"]) -> Float[Tensor, " b"]:
    """Return Pearson's r of each pair of images; 0 where one of them is constant.

    Example:
        >>> ramp = torch.arange(256.0).view(1, 1, 16, 16)
        >>> round(pearson(ramp, 255 - ramp).item(), 4)
        -1.0
    """
    a, b = (x.double().flatten(1) for x in (a, b))
    a, b = a - a.mean(dim=1, keepdim=True), b - b.mean(dim=1, keepdim=True)
    norms = torch.linalg.vector_norm(a, dim=1) * torch.linalg.vector_norm(b, dim=1)
    products = torch.linalg.vecdot(a, b, dim=1)
    return torch.where(norms > 1e-9, products / norms.clamp_min(1e-9), 0.0)
