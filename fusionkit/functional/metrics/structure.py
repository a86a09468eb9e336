"""Structural similarity with the sources, at one scale and at several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from fusionkit.errors import FusionkitError

SMALLEST_MULTISCALE = 176
"""Least height and width for which the coarsest of five scales holds a window of 11 pixels."""

_STRIP = 32

_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def structural_similarity(
    fused: Float[Tensor, "b 1 h w"],
    sources: Sequence[Float[Tensor, "b 1 h w"]],
    *,
    window: Literal["uniform", "gaussian"] = "uniform",
    data_range: float = 2.0,
    average: bool = False,
) -> Float[Tensor, " b"]:
    """SSIM = sum over the sources of the mean SSIM (Wang et al., IEEE TIP 2004), valid pixels.

    Args:
        fused: (b, 1, h, w), 0 .. 255; a side smaller than the window takes one that fits.
        sources: Images of the same shape.
        window: ``uniform`` 7 x 7 with sample covariances (``cddfuse``), or ``gaussian`` 11 x 11 of
            sigma 1.5 with those of the population (the other profiles).
        data_range: 255, or 2 (``cddfuse``): the default that an old scikit-image assumed for
            floats, which published values carry. With constants that small, SSIM is close to the
            product of the ratios without them.
        average: The mean over the sources instead of their sum (``tang``, ``vfbench``).
    """
    total = fused.new_zeros(len(fused), dtype=torch.float64)
    for source in sources:
        total = total + _ssim(source, fused, window, data_range)[0]
    return total / len(sources) if average else total


def multiscale_similarity(
    fused: Float[Tensor, "b 1 h w"], sources: Sequence[Float[Tensor, "b 1 h w"]]
) -> Float[Tensor, " b"]:
    """MS-SSIM = sum over the sources (Wang et al., Asilomar 2003), five scales, as ``zoo`` has it.

    Gaussian window 11 x 11 of sigma 1.5, data range 255; negative factors count as 0.

    Raises:
        FusionkitError: for images of fewer than 176 pixels a side.
    """
    if min(fused.shape[-2:]) < SMALLEST_MULTISCALE:
        raise FusionkitError(
            f"MS-SSIM needs images of at least {SMALLEST_MULTISCALE}x{SMALLEST_MULTISCALE} pixels, "
            f"found {fused.shape[-2]}x{fused.shape[-1]}; choose other metrics"
        )
    total = fused.new_zeros(len(fused), dtype=torch.float64)
    for source in sources:
        a, b = source.double(), fused.double()
        product = torch.ones_like(total)
        for scale, weight in enumerate(_SCALE_WEIGHTS):
            similarity, structure = _ssim(a, b, "gaussian", 255.0)
            last = scale == len(_SCALE_WEIGHTS) - 1
            product = product * (similarity if last else structure).clamp_min(0) ** weight
            if not last:
                # An odd side gets a row of zeros in front, which counts in the mean.
                odd = [side % 2 for side in a.shape[-2:]]
                a, b = (F.avg_pool2d(x, 2, padding=odd) for x in (a, b))
        total = total + product
    return total


def _ssim(a: Tensor, b: Tensor, window: str, data_range: float) -> tuple[Tensor, Tensor]:
    """Return the means of the similarity and of its contrast-structure part."""
    mean, side, unbiased = (_uniform if window == "uniform" else _gaussian)(a)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    height, width = (n - side + 1 for n in a.shape[-2:])
    sums = a.new_zeros((2, len(a)), dtype=torch.float64)
    # Strip by strip, so that what one works on stays in a processor's cache.
    for top in range(0, height, _STRIP):
        rows = slice(top, min(height, top + _STRIP) + side - 1)
        x, y = a[..., rows, :].double(), b[..., rows, :].double()
        mean_x, mean_y, xx, yy, xy = mean(torch.stack([x, y, x * x, y * y, x * y]))
        both = mean_x * mean_y
        covariance = (xy - both).mul_(2 * unbiased).add_(c2)
        squares = mean_x.square_() + mean_y.square_()
        structure = covariance.div_((xx + yy).sub_(squares).mul_(unbiased).add_(c2))
        sums[1] += structure.sum(dim=(1, 2, 3))
        sums[0] += both.mul_(2).add_(c1).div_(squares.add_(c1)).mul_(structure).sum(dim=(1, 2, 3))
    return sums[0] / (height * width), sums[1] / (height * width)


def _uniform(x: Tensor) -> tuple[Callable[[Tensor], Tensor], int, float]:
    side = min(7, *x.shape[-2:])
    count = side * side

    def mean(x: Tensor) -> Tensor:
        # Separable, and sums of shifted views: torch's pooling of float64 is several times slower.
        h, w = x.shape[-2] - side + 1, x.shape[-1] - side + 1
        columns = x[..., :h, :].clone()
        for k in range(1, side):
            columns += x[..., k : k + h, :]
        total = columns[..., :w].clone()
        for k in range(1, side):
            total += columns[..., k : k + w]
        return total.div_(count)

    return mean, side, count / max(1, count - 1)


def _gaussian(x: Tensor) -> tuple[Callable[[Tensor], Tensor], int, float]:
    side = min(11, *(n - 1 + n % 2 for n in x.shape[-2:]))
    offsets = torch.arange(side, dtype=torch.float64, device=x.device) - side // 2
    weights = torch.exp(-(offsets**2) / (2 * 1.5**2))
    taps = (weights / weights.sum()).tolist()

    def mean(x: Tensor) -> Tensor:
        h, w = x.shape[-2] - side + 1, x.shape[-1] - side + 1
        columns = sum(tap * x[..., k : k + h, :] for k, tap in enumerate(taps))
        assert isinstance(columns, Tensor)
        total = sum(tap * columns[..., k : k + w] for k, tap in enumerate(taps))
        assert isinstance(total, Tensor)
        return total

    return mean, side, 1.0
