"""Structural similarity with the sources, at one scale and at several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from fusionkit.errors import FusionkitError
from fusionkit.functional.metrics.moments import Mean, local_moments
from fusionkit.functional.windows import gaussian_window

SMALLEST_MULTISCALE = 176
"""Least height and width for which the coarsest of five scales holds a window of 11 pixels."""

_ROWS = 48
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
        average: Whether to return the mean over the sources, not the sum (``tang``, ``vfbench``).

    Example:
        >>> step = torch.zeros(1, 1, 48, 48)
        >>> step[..., 24:] = 255
        >>> structural_similarity(step, [step, step]).item()
        2.0
    """
    total = _ssim([fused, *sources], window, data_range)[0].sum(dim=0)
    return total / len(sources) if average else total


def multiscale_similarity(
    fused: Float[Tensor, "b 1 h w"], sources: Sequence[Float[Tensor, "b 1 h w"]]
) -> Float[Tensor, " b"]:
    """MS-SSIM = sum over the sources (Wang et al., Asilomar 2003), five scales, as ``zoo`` has it.

    Gaussian window 11 x 11 of sigma 1.5, data range 255; negative factors count as 0.

    Raises:
        FusionkitError: for images of fewer than 176 pixels a side.

    Example:
        >>> step = torch.zeros(1, 1, 176, 176)
        >>> step[..., 88:] = 255
        >>> round(multiscale_similarity(step, [step, step]).item(), 4)
        2.0
    """
    if min(fused.shape[-2:]) < SMALLEST_MULTISCALE:
        raise FusionkitError(
            f"MS-SSIM needs images of at least {SMALLEST_MULTISCALE}x{SMALLEST_MULTISCALE} pixels, "
            f"found {fused.shape[-2]}x{fused.shape[-1]}; choose other metrics"
        )
    images = [x.double() for x in (fused, *sources)]
    product = images[0].new_ones(len(sources), len(fused))
    for scale, weight in enumerate(_SCALE_WEIGHTS):
        similarity, structure = _ssim(images, "gaussian", 255.0)
        last = scale == len(_SCALE_WEIGHTS) - 1
        product = product * (similarity if last else structure).clamp_min(0) ** weight
        if not last:
            # An odd side gets a row of zeros in front; the mean includes it.
            odd = [side % 2 for side in images[0].shape[-2:]]
            images = [F.avg_pool2d(x, 2, padding=odd) for x in images]
    return product.sum(dim=0)


def _ssim(
    images: Sequence[Float[Tensor, "b 1 h w"]], window: str, data_range: float
) -> tuple[Float[Tensor, "m b"], Float[Tensor, "m b"]]:
    """Return the means of the similarity and of its contrast-structure part.

    Both of the first images with each of the others.
    """
    first = images[0]
    # Sums of 7 x 7 products of 8-bit levels, and products of two such sums, are exact in 32 bits.
    exact = window == "uniform" and all(_are_levels(x) for x in images)
    mean, side, unbiased = (_uniform if window == "uniform" else _gaussian)(first)
    weight = side * side if window == "uniform" else 1
    c1, c2 = (0.01 * data_range * weight) ** 2, (0.03 * data_range * weight) ** 2
    sums = torch.zeros((2, len(images) - 1, len(first)), dtype=torch.float64, device=first.device)
    dtype = torch.int32 if exact else torch.float64
    for means, variances, covariances in local_moments(
        images, mean, side, rows=_ROWS, weight=weight, dtype=dtype
    ):
        spread = variances[1:] + variances[:1]
        if exact:  # what follows doesn't cancel
            means, spread, covariances = means.float(), spread.float(), covariances.float()
        both = means[:1] * means[1:]
        squares = means.square_()
        squares = squares[1:] + squares[:1]
        structure = covariances.mul_(2 * unbiased).add_(c2).div_(spread.mul_(unbiased).add_(c2))
        similarity = both.mul_(2).add_(c1).div_(squares.add_(c1)).mul_(structure)
        sums[1] += structure.sum(dim=(2, 3, 4), dtype=torch.float64)
        sums[0] += similarity.sum(dim=(2, 3, 4), dtype=torch.float64)
    height, width = (n - side + 1 for n in first.shape[-2:])
    similarity, structure = sums / (height * width)
    return similarity, structure


def _are_levels(image: Tensor) -> bool:
    """Return whether all values are 8-bit levels."""
    low, high = image.aminmax()
    return bool(low >= 0) and bool(high <= 255) and torch.equal(image.trunc(), image)


def _uniform(x: Tensor) -> tuple[Mean, int, float]:
    side = min(7, *x.shape[-2:])
    count = side * side

    def total(x: Tensor) -> Tensor:
        # Separable sums of shifted views; torch's pooling of float64 is several times slower.
        return _run(_run(x, -2, side), -1, side)

    return total, side, count / max(1, count - 1)


def _run(x: Tensor, axis: int, length: int) -> Tensor:
    """Return sums of neighbours along an axis, built from sums of 1, 2, 4 and so on."""
    total, done, power = None, 0, 1
    count = x.shape[axis] - length + 1
    while True:
        if length & power:
            part = x.narrow(axis, done, count)
            total = part.clone() if total is None else total.add_(part)
            done += power
        power *= 2
        if power > length:
            assert total is not None
            return total
        x = x.narrow(axis, 0, x.shape[axis] - power // 2) + x.narrow(
            axis, power // 2, x.shape[axis] - power // 2
        )


def _gaussian(x: Tensor) -> tuple[Mean, int, float]:
    side = min(11, *(n - 1 + n % 2 for n in x.shape[-2:]))
    taps = gaussian_window(side, 1.5, dtype=torch.float64, device=x.device).tolist()

    def mean(x: Tensor) -> Tensor:
        h, w = x.shape[-2] - side + 1, x.shape[-1] - side + 1
        columns = sum(tap * x[..., k : k + h, :] for k, tap in enumerate(taps))
        assert isinstance(columns, Tensor)
        total = sum(tap * columns[..., k : k + w] for k, tap in enumerate(taps))
        assert isinstance(total, Tensor)
        return total

    return mean, side, 1.0
