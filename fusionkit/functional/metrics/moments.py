"""Local means, variances and covariances of images and their sources, strip by strip."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Shaped
from torch import Tensor

__all__ = ["Mean", "local_moments"]

ROWS = 24
"""Rows of one strip: few enough to stay in the CPU cache."""

Mean = Callable[[Shaped[Tensor, "*b h w"]], Shaped[Tensor, "*b h2 w2"]]


def local_moments(
    images: Shaped[Tensor, "k *b h w"], mean: Mean, side: int, weight: int = 1
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Slide a window over the first image and the others, its sources.

    Args:
        images: (k, ..., h, w), the fused image before its k - 1 sources.
        mean: Weighted sum over each window inside the image; called with some rows at a time.
        side: Side of the window in pixels.
        weight: Sum of the weights in a window. If it is not 1, means are ``weight`` times as
            large, and variances and covariances ``weight**2`` times: exact for whole numbers.

    Yields:
        From top to bottom: means (k, ...), variances (k, ...) and covariances of the first image
        with the others (k - 1, ...). All are the caller's to overwrite.

    Example:
        >>> from functools import partial
        >>> mean = partial(torch.nn.functional.avg_pool2d, kernel_size=8, stride=1)
        >>> means, _, covariances = next(local_moments(torch.zeros(2, 1, 20, 30), mean, side=8))
        >>> means.shape, covariances.shape
        (torch.Size([2, 1, 13, 23]), torch.Size([1, 1, 13, 23]))
    """
    k = len(images)
    height = images.shape[-2] - side + 1
    shape = (3 * k - 1, *images.shape[1:-2], min(ROWS, height) + side - 1, images.shape[-1])
    buffer = images.new_empty(shape)
    for top in range(0, height, ROWS):
        strip = images[..., top : top + ROWS + side - 1, :]
        maps = buffer[..., : strip.shape[-2], :]
        maps[:k] = strip
        torch.mul(strip, strip, out=maps[k : 2 * k])
        torch.mul(strip[1:], strip[:1], out=maps[2 * k :])
        means, variances, covariances = mean(maps).split([k, k, k - 1])
        if weight != 1:
            variances, covariances = variances.mul_(weight), covariances.mul_(weight)
        variances = variances.addcmul_(means, means, value=-1)
        covariances = covariances.addcmul_(means[1:], means[:1], value=-1)
        yield means, variances, covariances
