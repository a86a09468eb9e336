"""First- and second-order statistics: SD, CC, SCD, MSE, PSNR."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def standard_deviation(fused: Float[Tensor, "b 1 h w"]) -> Float[Tensor, " b"]:
    """SD, of the population."""
    return fused.double().flatten(1).std(dim=1, correction=0)


def correlation(
    fused: Float[Tensor, "b 1 h w"], sources: Sequence[Float[Tensor, "b 1 h w"]]
) -> Float[Tensor, " b"]:
    """CC = mean over the sources of Pearson's r with the fused image."""
    return torch.stack([pearson(source, fused) for source in sources]).mean(dim=0)


def differences_correlation(
    fused: Float[Tensor, "b 1 h w"], sources: Sequence[Float[Tensor, "b 1 h w"]]
) -> Float[Tensor, " b"]:
    """SCD = sum over the sources A of r(F - B, A), where B is the mean of the other sources.

    Aslantas and Bendes, AEU 2015: what A contributed is what is left when B is taken away.
    """
    total = sum(s.double() for s in sources)
    others = len(sources) - 1
    parts = []
    for source in sources:
        rest = (total - source.double()) / max(1, others)
        parts.append(pearson(fused.double() - rest, source))
    return torch.stack(parts).sum(dim=0)


def mean_squared_error(
    fused: Float[Tensor, "b 1 h w"], sources: Sequence[Float[Tensor, "b 1 h w"]]
) -> Float[Tensor, " b"]:
    """MSE = mean over the sources of the mean squared difference, of grey levels 0 .. 255."""
    errors = [(s.double() - fused.double()).square().mean(dim=(1, 2, 3)) for s in sources]
    return torch.stack(errors).mean(dim=0)


def peak_signal_to_noise(
    fused: Float[Tensor, "b 1 h w"], sources: Sequence[Float[Tensor, "b 1 h w"]]
) -> Float[Tensor, " b"]:
    """PSNR = 20 log10(max F / sqrt(MSE)) in dB, where MSE is that of ``mean_squared_error``.

    The peak is the fused image's own maximum, an oddity of the profile. MSE counts as at least
    1e-10 and the peak as at least 1, so that the value stays finite.
    """
    peak = fused.double().amax(dim=(1, 2, 3)).clamp_min(1)
    error = mean_squared_error(fused, sources).clamp_min(1e-10)
    return 20 * torch.log10(peak / error.sqrt())


def pearson(a: Float[Tensor, "b 1 h w"], b: Float[Tensor, "b 1 h w"]) -> Float[Tensor, " b"]:
    """Return Pearson's r of each pair of images; 0 where one of them is constant."""
    a, b = (x.double().flatten(1) for x in (a, b))
    a, b = a - a.mean(dim=1, keepdim=True), b - b.mean(dim=1, keepdim=True)
    norms = a.square().sum(dim=1).sqrt() * b.square().sum(dim=1).sqrt()
    return torch.where(norms > 1e-9, (a * b).sum(dim=1) / norms.clamp_min(1e-9), 0.0)
