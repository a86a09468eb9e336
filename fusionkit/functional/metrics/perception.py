"""Qcb and Qcv: what an eye's contrast sensitivity makes of the fused image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from fusionkit.functional.metrics.levels import stretched

_BLOCK = 16
"""Side of the regions of Qcv in pixels."""


def contrast_preservation(
    fused: Float[Tensor, "b 1 h w"],
    sources: Sequence[Float[Tensor, "b 1 h w"]],
    *,
    narrow: bool = False,
) -> Float[Tensor, " b"]:
    """Qcb of Chen and Blum (Image and Vision Computing 2009): preserved local contrast, 0 to 1.

    Images are stretched to 0 .. 255 and filtered by a contrast sensitivity (a difference of
    Gaussians in frequency, of 15.387 / 1.3456). Local contrast is the ratio of Gaussian means of
    2 and 4 pixels minus 1, masked as c^3 / (c^2 + 0.0001). Each source's ratio of the lesser to
    the greater of both contrasts is weighted by its squared contrast. Constant images count as
    gray ones; where nothing has contrast, it counts as preserved.

    Args:
        fused: (b, 1, h, w), 0 .. 255.
        sources: Images of the same shape.
        narrow: Stretch without rounding, take half the frequency and add 1e-10 to the sum of the
            weights (``zoo``), so that places with little contrast hardly count.

    Example:
        >>> step = torch.zeros(1, 1, 48, 48)
        >>> step[..., 24:] = 255
        >>> contrast_preservation(step, [step, step]).item()
        1.0
    """
    images = [fused.double(), *(x.double() for x in sources)]
    wide = [_spread(x) for x in images] if narrow else [stretched(x) for x in images]
    radius = _radius(fused) / (30 if narrow else 15)
    passed = torch.exp(-((radius / 15.387) ** 2)) - 0.7622 * torch.exp(-((radius / 1.3456) ** 2))
    f, *given = (_contrast(x, passed) for x in wide)
    kept, weights = torch.zeros_like(f), torch.zeros_like(f)
    least = torch.finfo(f.dtype).tiny
    for s in given:
        above = torch.maximum(s, f)
        ratio = torch.where(above > 0, torch.minimum(s, f) / above.clamp_min(least), 1)
        weight = s.square().clamp_min(least)  # equal weights where no source has contrast
        kept += weight * ratio
        weights += weight
    return (kept / (weights + 1e-10 if narrow else weights)).mean(dim=(1, 2, 3))


def perceived_difference(
    fused: Float[Tensor, "b 1 h w"], sources: Sequence[Float[Tensor, "b 1 h w"]]
) -> Float[Tensor, " b"]:
    """Qcv of Chen and Varshney (Information Fusion 2007): what is lost where sources are salient.

    Images are stretched to 0 .. 255. Their differences from the fused image are filtered by
    Mannos and Sakrison's contrast sensitivity and squared; their mean in each 16 x 16 region is
    weighted by the sum of the source's Sobel gradients to the power of 5. Regions that cross the
    lower and right border are filled with zeros. If no source has a gradient, all regions count
    equally. Lower is better.

    Args:
        fused: (b, 1, h, w), 0 .. 255.
        sources: Images of the same shape.

    Example:
        >>> step = torch.zeros(1, 1, 48, 48)
        >>> step[..., 24:] = 255
        >>> perceived_difference(step, [step, step]).item()
        0.0
    """
    f = stretched(fused)
    radius = 0.144 * _radius(fused) / 4
    passed = 2.6 * (0.0192 + radius) * torch.exp(-(radius**1.1))
    lost = f.new_zeros(f.shape[0])
    total, plain = lost.clone(), lost.clone()
    for source in sources:
        s = stretched(source)
        difference = _blocks(_filtered(s - f, passed).square()) / _BLOCK**2
        salience = _blocks(_squared_gradient(s) ** 2.5)
        lost += (salience * difference).sum(dim=(1, 2, 3))
        total += salience.sum(dim=(1, 2, 3))
        plain += difference.mean(dim=(1, 2, 3)) / len(sources)
    return torch.where(total > 0, lost / total.clamp_min(1e-300), plain)


def _spread(x: Tensor) -> Tensor:
    """Stretch to 0 .. 1 without rounding; a constant image stays."""
    low, high = x.amin(dim=(1, 2, 3), keepdim=True), x.amax(dim=(1, 2, 3), keepdim=True)
    return torch.where(high > low, (x - low) / (high - low).clamp_min(1e-9), x)


def _radius(x: Tensor) -> Float[Tensor, "h w"]:
    """Return the cycles per image of each frequency, as ``torch.fft.fft2`` orders them."""
    down, across = (
        torch.fft.fftfreq(n, 1 / n, dtype=torch.float64, device=x.device) for n in x.shape[-2:]
    )
    return torch.hypot(down[:, None], across[None, :])


def _filtered(x: Tensor, passed: Float[Tensor, "h w"]) -> Tensor:
    return torch.fft.ifft2(torch.fft.fft2(x) * passed).real


def _contrast(x: Float[Tensor, "b 1 h w"], passed: Float[Tensor, "h w"]) -> Tensor:
    """Return the masked local contrast; black images count as gray ones."""
    black = x.amax(dim=(1, 2, 3), keepdim=True) == 0
    x = _filtered(torch.where(black, 1, x), passed)
    offsets = torch.arange(-15, 16, dtype=x.dtype, device=x.device)
    fine, coarse = (_window(x, offsets, sigma) for sigma in (2.0, 4.0))
    contrast = (fine / torch.where(coarse == 0, torch.finfo(x.dtype).tiny, coarse) - 1).abs()
    # c^3 / (c^2 + Z) without overflow
    return contrast / (1 + 1e-4 / contrast.square().clamp_min(1e-300))


def _window(x: Tensor, offsets: Float[Tensor, " n"], sigma: float) -> Tensor:
    """Return Gaussian sums with zeros around the image, as MATLAB's ``filter2`` gives them."""
    # The window isn't normalized there; its sum is part of the contrast.
    taps = torch.exp(-(offsets**2) / (2 * sigma**2)) / ((2 * torch.pi) ** 0.5 * sigma)
    half = len(taps) // 2
    x = F.conv2d(x, taps.view(1, 1, -1, 1), padding=(half, 0))
    return F.conv2d(x, taps.view(1, 1, 1, -1), padding=(0, half))


def _blocks(x: Float[Tensor, "b 1 h w"]) -> Tensor:
    """Return the sums of regions."""
    right, bottom = -x.shape[-1] % _BLOCK, -x.shape[-2] % _BLOCK
    return F.avg_pool2d(F.pad(x, (0, right, 0, bottom)), _BLOCK) * _BLOCK**2


def _squared_gradient(x: Float[Tensor, "b 1 h w"]) -> Tensor:
    x = F.pad(x, (1, 1, 1, 1))
    smooth = x[..., :-2, :] + 2 * x[..., 1:-1, :] + x[..., 2:, :]
    across = smooth[..., 2:] - smooth[..., :-2]
    smooth = x[..., :-2] + 2 * x[..., 1:-1] + x[..., 2:]
    down = smooth[..., 2:, :] - smooth[..., :-2, :]
    return across.square() + down.square()
