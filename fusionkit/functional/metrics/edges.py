"""Sobel edges of images and their sources, strip by strip."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["compare_edges"]

_PIXELS = 2**17
"""Pixels of one strip over all images: few enough to stay in the CPU cache."""


def compare_edges(
    images: Sequence[Float[Tensor, "b 1 h w"]],
    *,
    border: Literal["zeros", "reflect"],
    wrap: bool,
) -> Iterator[tuple[Float[Tensor, "k b s w"], Float[Tensor, "m b s w"]]]:
    """Compare the edges of the first image with those of the others, its sources.

    Edges without strength count as horizontal ones, as in the evaluators of the field. In float32,
    squared strengths of 8-bit levels are exact.

    Args:
        images: The fused image before its k - 1 sources. Reflected ones have 2x2 pixels or more.
        border: Pixels around the images.
        wrap: Whether edges of opposite directions are equal. If not, the difference is that of two
            angles in (-pi/2, pi/2], as ``arctan`` gives them, and may exceed pi/2.

    Yields:
        From top to bottom: squared strengths of the edges (k, b, s, w), and alignments
        (k - 1, b, s, w): 1 - 2 d / pi for angles that differ by d. Both are the caller's to
        overwrite.

    Example:
        >>> ramp = torch.arange(6.0).expand(1, 1, 5, 6)  # slope 1 across
        >>> images = [ramp, 2 * ramp]
        >>> square, alignment = next(compare_edges(images, border="reflect", wrap=True))
        >>> square[:, 0, 0, 1].tolist(), alignment[0, 0, 0, 1].item()
        ([64.0, 256.0], 1.0)
    """
    for x in _strips(images, border):
        tiny = torch.finfo(x.dtype).tiny ** 0.4  # below any edge; its square doesn't underflow
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


def _strips(
    images: Sequence[Float[Tensor, "b 1 h w"]], border: Literal["zeros", "reflect"]
) -> Iterator[Float[Tensor, "k b s2 w2"]]:
    """Yield rows of all images with a border of one pixel; the next strip overwrites them."""
    b, _, height, width = images[0].shape
    rows = min(height, max(2, _PIXELS // (len(images) * b * (width + 2))))
    buffer = images[0].new_zeros(len(images), b, rows + 2, width + 2)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        first, last = max(0, top - 1), min(bottom + 1, height)
        x = buffer[..., : bottom - top + 2, :]
        for strip, image in zip(x, images, strict=True):
            strip[..., first - top + 1 : last - top + 1, 1:-1] = image[:, 0, first:last]
        if border == "reflect":
            x[..., 0], x[..., -1] = x[..., 2], x[..., -3]
            if top == 0:
                x[..., 0, :] = x[..., 2, :]
            if bottom == height:
                x[..., -1, :] = x[..., -3, :]
        elif bottom == height:
            x[..., -1, :] = 0
        yield x
