"""Qy: structural similarity with the source that is like the fused image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from fusionkit.functional.windows import gaussian_window

_SIDE, _SIGMA = 7, 1.5
_ALIKE = 0.75
"""Similarity of the sources from which on both count."""
_FLAT = 1e-6
"""Variance below any of 8-bit levels in a window."""


def similarity_of_regions(
    fused: Float[Tensor, "b 1 h w"], sources: Sequence[Float[Tensor, "b 1 h w"]]
) -> Float[Tensor, " b"]:
    """Qy of C. Yang et al. (Information Fusion 2008), at most 1.

    SSIM without constants, in windows of 7 x 7 pixels inside the image (Gaussian, 1.5). Where the
    sources are alike (SSIM of 0.75 and more; every pair of them), the sum of the similarities
    weighted by the sources' variances; elsewhere, the greatest similarity. Windows that are
    flat in both images are alike in structure; if all sources are flat, they weigh the same.

    Args:
        fused: (b, 1, h, w), 0 .. 255; a side smaller than the window takes one that fits.
        sources: Images of the same shape.

    Example:
        >>> step = torch.zeros(1, 1, 48, 48)
        >>> step[..., 24:] = 255
        >>> similarity_of_regions(step, [step, step]).item()
        1.0
    """
    images = torch.stack([x.double() for x in (fused, *sources)])
    side = min(_SIDE, *(n - 1 + n % 2 for n in fused.shape[-2:]))
    taps = gaussian_window(side, _SIGMA, dtype=torch.float64, device=fused.device)
    means = _mean(images, taps)
    variances = _mean(images.square(), taps) - means.square()
    variances = torch.where(variances > _FLAT, variances, 0.0)
    maps = means, variances
    similar = torch.stack([_similarity(images, maps, 0, k, taps) for k in range(1, len(images))])
    alike = torch.ones_like(similar[0], dtype=torch.bool)
    for i in range(1, len(images)):
        for j in range(1, i):
            alike &= _similarity(images, maps, i, j, taps) >= _ALIKE
    weights = variances[1:]
    total = weights.sum(dim=0)
    weights = torch.where(total > 0, weights / total.clamp_min(_FLAT), 1 / len(sources))
    value = torch.where(alike, (weights * similar).sum(dim=0), similar.amax(dim=0))
    return value.mean(dim=(1, 2, 3))


def _similarity(
    images: Float[Tensor, "k b 1 h w"],
    maps: tuple[Tensor, Tensor],
    i: int,
    j: int,
    taps: Float[Tensor, " n"],
) -> Tensor:
    means, variances = maps
    spread = variances[i] + variances[j]
    both = (variances[i] > 0) & (variances[j] > 0)
    covariance = _mean(images[i] * images[j], taps) - means[i] * means[j]
    structure = 2 * torch.where(both, covariance, 0.0) / spread.clamp_min(_FLAT)
    structure = torch.where(spread > 0, structure, 1.0)
    squares = means[i].square() + means[j].square()
    luminance = torch.where(squares > 0, 2 * means[i] * means[j] / squares.clamp_min(1e-300), 1.0)
    return luminance * structure


def _mean(x: Tensor, taps: Float[Tensor, " n"]) -> Tensor:
    """Return Gaussian means in the windows inside the image."""
    side = len(taps)
    height, width = (n - side + 1 for n in x.shape[-2:])
    columns = torch.zeros_like(x[..., :height, :])
    for k, tap in enumerate(taps.tolist()):
        columns.add_(x[..., k : k + height, :], alpha=tap)
    rows = torch.zeros_like(columns[..., :width])
    for k, tap in enumerate(taps.tolist()):
        rows.add_(columns[..., k : k + width], alpha=tap)
    return rows
