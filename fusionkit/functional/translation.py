"""The translation between two images of one scene from different sensors.

Infrared and visible disagree on brightness and often on its sign: warm is bright, whatever its
colour. They agree on where edges run. So each gradient (gx, gy) becomes ((gx + i gy)^2) / (gx^2 +
gy^2 + e): the doubled angle is the same for a step up and a step down, and the denominator lets a
faint edge count like a strong one, but not noise far below e. The fields of both images are
correlated for all translations at once by FFT, normalized by the energies where they overlap.
docs/thermal.md compares it with phase correlation.
"""

from __future__ import annotations

import math

import scipy.fft
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from fusionkit.functional.windows import gaussian_window

__all__ = ["LIMIT", "estimate_shift", "translate"]

LIMIT = 32
"""Largest translation in pixels, in each direction, that is looked for."""

_BLUR = 1.5
_FAINT = 0.1
_LEAST_PEAK, _LEAST_LEAD, _NEAR = 0.1, 1.0, 6


def estimate_shift(
    reference: Float[Tensor, "1 h w"], moving: Float[Tensor, "1 h w"], limit: int = LIMIT
) -> tuple[float, float] | None:
    """Return the (rows, columns) in pixels by which ``moving`` must be translated.

    An estimate counts if the correlation there is at least 0.1 and exceeds that of all shifts more
    than six pixels away by their standard deviation. Images of different scenes rarely pass.

    Args:
        reference: Luminance in [0, 1].
        moving: Luminance in [0, 1] of the same size.
        limit: Largest shift in each direction; a quarter of the shorter side if that is less.

    Returns:
        The translation, to parts of a pixel, or None if there is none to be trusted.

    Example:
        >>> noise = torch.rand(1, 1, 96, 96, generator=torch.Generator().manual_seed(0))
        >>> image = F.avg_pool2d(noise, 3, stride=1, padding=1)[0]
        >>> rows, columns = estimate_shift(image, translate(image, rows=0.0, columns=4.0))
        >>> round(rows), round(columns)
        (0, -4)
    """
    limit = min(limit, min(reference.shape[-2:]) // 4)
    scores = _correlation(_orientations(reference), _orientations(moving), limit)
    row, column = divmod(int(scores.argmax()), scores.shape[1])
    far = torch.ones_like(scores, dtype=torch.bool)
    far[max(0, row - _NEAR) : row + _NEAR + 1, max(0, column - _NEAR) : column + _NEAR + 1] = False
    peak, others = scores[row, column], scores[far]
    at_end = not (0 < row < 2 * limit and 0 < column < 2 * limit)  # the true peak may lie outside
    if at_end or peak < _LEAST_PEAK or others.numel() < 2:
        return None
    if peak - others.max() <= _LEAST_LEAD * others.std():
        return None
    rows = row - limit + _vertex(scores[row - 1 : row + 2, column])
    columns = column - limit + _vertex(scores[row, column - 1 : column + 2])
    return 0.0 - rows, 0.0 - columns


def translate(image: Float[Tensor, "c h w"], rows: float, columns: float) -> Float[Tensor, "c h w"]:
    """Return an image in [0, 1] moved down by ``rows`` and right by ``columns`` pixels.

    Cubic between pixels (Keys, a = -1/2), clamped to [0, 1]; what comes in at a border repeats it.
    A whole number of pixels copies them unchanged.

    Example:
        >>> translate(torch.tensor([[[0.0, 0.5, 1.0]]]), rows=0.0, columns=1.0)
        tensor([[[0.0000, 0.0000, 0.5000]]])
    """
    for dim, shift in ((-2, rows), (-1, columns)):
        whole = math.floor(-shift)
        t = -shift - whole
        places = torch.arange(image.shape[dim], device=image.device) + whole
        last = image.shape[dim] - 1
        taps = (
            (-1, -0.5 * t + t**2 - 0.5 * t**3),
            (0, 1 - 2.5 * t**2 + 1.5 * t**3),
            (1, 0.5 * t + 2 * t**2 - 1.5 * t**3),
            (2, -0.5 * t**2 + 0.5 * t**3),
        )
        parts = [
            weight * image.index_select(dim, (places + offset).clamp(0, last))
            for offset, weight in taps
            if weight
        ]
        image = torch.stack(parts).sum(dim=0)
    return image.clamp(0, 1)


def _orientations(image: Tensor) -> Tensor:
    """Return the doubled-angle field (2, h, w) of an image (1, h, w)."""
    radius = math.ceil(3 * _BLUR)
    kernel = gaussian_window(2 * radius + 1, _BLUR, device=image.device)
    x = F.pad(image[None], (radius,) * 4, mode="replicate")
    x = F.conv2d(F.conv2d(x, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))[0, 0]
    gy, gx = torch.gradient(x)
    # The outermost pixels depend on the padding.
    for g in (gx, gy):
        g[[0, -1]] = 0
        g[:, [0, -1]] = 0
    energy = gx**2 + gy**2
    scale = energy + _FAINT * energy.mean() + 1e-12
    return torch.stack(((gx**2 - gy**2) / scale, 2 * gx * gy / scale))


def _correlation(a: Tensor, b: Tensor, limit: int) -> Tensor:
    """Return r(s) = sum a(x) b(x + s) / sqrt(sum a(x)^2 sum b(x + s)^2) for |s| <= limit.

    Both sums go over where the images overlap; (2 limit + 1, 2 limit + 1), no shift in the middle.
    """
    size = [scipy.fft.next_fast_len(n + limit, real=True) for n in a.shape[-2:]]

    def correlated(first: Tensor, second: Tensor) -> Tensor:
        spectra = torch.fft.rfft2(first, s=size).conj() * torch.fft.rfft2(second, s=size)
        values = torch.fft.irfft2(spectra.sum(dim=0), s=size)
        return values.roll((limit, limit), (0, 1))[: 2 * limit + 1, : 2 * limit + 1]

    ones = torch.ones_like(a[:1])
    energies = correlated((a**2).sum(dim=0, keepdim=True), ones) * correlated(
        ones, (b**2).sum(dim=0, keepdim=True)
    )
    return correlated(a, b) / energies.clamp_min(1e-6).sqrt()


def _vertex(values: Tensor) -> float:
    """Return where the parabola through values at -1, 0, 1 has its peak."""
    left, middle, right = values.tolist()
    curvature = left - 2 * middle + right
    return 0.5 * (left - right) / curvature if curvature < 0 else 0.0
