"""Local means, variances and covariances of images and their sources, strip by strip."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Shaped
from torch import Tensor

__all__ = ["Mean", "local_moments"]

Mean = Callable[[Shaped[Tensor, "*b h w"]], Shaped[Tensor, "*b h2 w2"]]


def local_moments(
    images: Sequence[Shaped[Tensor, "*b h w"]],
    mean: Mean,
    side: int,
    *,
    rows: int,
    weight: int = 1,
    dtype: torch.dtype = torch.float64,
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Slide a window over the first image and the others, its sources.

    Args:
        images: The fused image before its k - 1 sources, (..., h, w) each.
        mean: Weighted sum over each window inside the image; called with some rows at a time.
        side: Side of the window in pixels.
        rows: Rows of results at a time, few enough to stay in the CPU cache.
        weight: Sum of the weights in a window. If it is not 1, means are ``weight`` times as
            large, and variances and covariances ``weight**2`` times: exact for whole numbers.
        dtype: Type to compute in.

    Yields:
        From top to bottom: means (k, ...), variances (k, ...) and covariances of the first image
        with the others (k - 1, ...). All are the caller's to overwrite.

    Example:
        >>> from functools import partial
        >>> mean = partial(torch.nn.functional.avg_pool2d, kernel_size=8, stride=1)
        >>> images = [torch.rand(1, 20, 30), torch.rand(1, 20, 30)]
        >>> means, _, covariances = next(local_moments(images, mean, side=8, rows=24))
        >>> means.shape, covariances.shape
        (torch.Size([2, 1, 13, 23]), torch.Size([1, 1, 13, 23]))
    """
    k, height = len(images), images[0].shape[-2] - side + 1
    *batch, _, width = images[0].shape
    buffer = torch.empty(
        (3 * k - 1, *batch, min(rows, height) + side - 1, width),
        dtype=dtype,
        device=images[0].device,
    )
    for top in range(0, height, rows):
        maps = buffer[..., : min(rows, height - top) + side - 1, :]
        for strip, image in zip(maps, images, strict=False):
            strip.copy_(image[..., top : top + rows + side - 1, :])
        torch.mul(maps[:k], maps[:k], out=maps[k : 2 * k])
        torch.mul(maps[1:k], maps[:1], out=maps[2 * k :])
        means, variances, covariances = mean(maps).split([k, k, k - 1])
        if weight != 1:
            variances, covariances = variances.mul_(weight), covariances.mul_(weight)
        variances = variances.addcmul_(means, means, value=-1)
        covariances = covariances.addcmul_(means[1:], means[:1], value=-1)
        yield means, variances, covariances
