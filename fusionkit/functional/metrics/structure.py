"""Structural similarity with the sources."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def structural_similarity(
    fused: Float[Tensor, "b 1 h w"], sources: Sequence[Float[Tensor, "b 1 h w"]]
) -> Float[Tensor, " b"]:
    """SSIM = sum over the sources of the mean SSIM: uniform 7 x 7 window, sample covariance.

    The data range is 2 although the images have 0 .. 255: the default that an old scikit-image
    assumed for floats, which the profile's published values carry. With constants that small,
    SSIM is close to the product of the ratios without them.

    Args:
        fused: (b, 1, h, w), 0 .. 255; a side under 7 pixels takes a window that fits.
        sources: Images of the same shape.
    """
    return torch.stack([_ssim(source, fused) for source in sources]).sum(dim=0)


def _ssim(a: Tensor, b: Tensor, data_range: float = 2.0) -> Tensor:
    a, b = a.double(), b.double()
    side = min(7, *a.shape[-2:])
    count = side * side

    def window_mean(x: Tensor) -> Tensor:
        columns = F.avg_pool2d(x, (side, 1), stride=1)  # separable: 14 sums a pixel, not 49
        return F.avg_pool2d(columns, (1, side), stride=1)

    mean_a, mean_b = window_mean(a), window_mean(b)
    unbiased = count / max(1, count - 1)
    var_a = unbiased * (window_mean(a * a) - mean_a**2)
    var_b = unbiased * (window_mean(b * b) - mean_b**2)
    covariance = unbiased * (window_mean(a * b) - mean_a * mean_b)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    similarity = ((2 * mean_a * mean_b + c1) * (2 * covariance + c2)) / (
        (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
    )
    return similarity.mean(dim=(1, 2, 3))
