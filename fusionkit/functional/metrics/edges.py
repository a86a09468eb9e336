"""Sobel edges of images and their sources, strip by strip."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["compare_edges"]

_PIXELS = 2**16
"""Pixels of one strip over all images: few enough to stay in the CPU cache."""


def compare_edges(
    images: Float[Tensor, "k b h2 w2"], *, wrap: bool
) -> Iterator[tuple[Float[Tensor, "k b s w"], Float[Tensor, "m b s w"]]]:
    """Compare the edges of the first image with those of the others, its sources.

    Edges without strength count as horizontal ones, as in the evaluators of the field. In float32,
    squared strengths of 8-bit levels are exact.

    Args:
        images: (k, b, h + 2, w + 2), the fused image before its k - 1 sources, with a border of
            one pixel that gives the edges of the outer pixels.
        wrap: Whether edges of opposite directions are equal. If not, the difference is that of two
            angles in (-pi/2, pi/2], as ``arctan`` gives them, and may exceed pi/2.

    Yields:
        From top to bottom: squared strengths of the edges (k, b, s, w), and alignments
        (k - 1, b, s, w): 1 - 2 d / pi for angles that differ by d. Both are the caller's to
        overwrite.

    Example:
        >>> ramp = torch.arange(6.0).expand(1, 1, 5, 6)  # slope 1 across
        >>> square, alignment = next(compare_edges(torch.cat([ramp, 2 * ramp]), wrap=True))
        >>> square[:, 0, 0, 0].tolist(), alignment[0, 0, 0, 0].item()
        ([64.0, 256.0], 1.0)
    """
    k, b, height, width = images.shape
    tiny = torch.finfo(images.dtype).tiny ** 0.4  # below any edge; its square doesn't underflow
    rows = max(2, _PIXELS // (k * b * width))
    for top in range(0, height - 2, rows):
        x = images[..., top : top + rows + 2, :]
        # The separable Sobel operator: smooth in one direction, then subtract in the other.
        smooth = torch.add(x[..., :-2, :], x[..., 1:-1, :], alpha=2).add_(x[..., 2:, :])
        across = smooth[..., 2:] - smooth[..., :-2]
        smooth = torch.add(x[..., :-2], x[..., 1:-1], alpha=2).add_(x[..., 2:])
        up = smooth[..., :-2, :] - smooth[..., 2:, :]
        square = (across * across).addcmul_(up, up)
        up.add_(tiny)  # gives pixels without an edge their direction, and changes no other
        # The tangent of pi/2 - d from products of both gradients takes one arctangent for two.
        cross = (across[1:] * up[:1]).addcmul_(up[1:], across[:1], value=-1).abs_()
        tangent = (across[1:] * across[:1]).addcmul_(up[1:], up[:1]).div_(cross)
        if wrap:
            tangent.abs_()
        else:
            # Turn both gradients to the right; the vertical ones up.
            side = across.add_(up, alpha=tiny).sign_()
            tangent.mul_(side[1:]).mul_(side[:1])
        yield square, tangent.atan_().mul_(2 / math.pi)
