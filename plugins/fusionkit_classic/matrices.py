"""Laplacian pyramids of small images, by products with matrices.

Shifted sums take dozens of calls of PyTorch for each level, and in a small image the calls take
more time than the arithmetic. There a filter with its reflected borders is two products:
``rows @ image @ columns``. Images of one size lie side by side in one matrix (h, n * w), so that
one product filters the columns of all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from fusionkit_classic.strips import most_active

SHORTEST = 8
"""Pixels in each direction that a level of details needs."""
LONGEST = 144
"""Longest side of a small image. Products of larger matrices take longer than shifted sums."""

_BINOMIAL = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], dtype=torch.float64) / 16

Factors = tuple[Float[Tensor, "h2 h"], Float[Tensor, "w w2"]]
"""What filters rows and columns."""


def is_small(x: Float[Tensor, "*b h w"]) -> bool:
    """Return whether products with matrices are faster; never where autocast would round them."""
    height, width = x.shape[-2:]
    return height <= LONGEST and width <= LONGEST and not torch.is_autocast_enabled(x.device.type)


def fuse_small(
    x: Float[Tensor, "m b h w"], levels: int
) -> tuple[list[Tensor], Float[Tensor, "m b h3 w3"]]:
    """Do what ``pyramid.fuse_details`` does.

    Example:
        >>> details, bases = fuse_small(torch.rand(2, 1, 32, 48), levels=2)
        >>> [tuple(level.shape[-2:]) for level in details], tuple(bases.shape)
        ([(32, 48), (16, 24)], (2, 1, 8, 12))
    """
    m, b, height, width = x.shape
    details = []
    pictures = _side_by_side(x)
    while len(details) < levels and min(height, width) >= SHORTEST:
        filters = _filters(height, width, x.dtype, x.device)
        coarse = _product(filters.reduce, pictures, width)
        level = _add_product(pictures, filters.expand, coarse, -1)
        magnitudes = level.detach().abs().chunk(m, 1)
        leads = [
            _product(filters.smooth, other.sub_(magnitudes[0]), width) for other in magnitudes[1:]
        ]
        details.append(_apart(most_active(level.chunk(m, 1), leads), width))
        pictures, height, width = coarse, (height + 1) // 2, (width + 1) // 2
    return details, _apart(pictures, width).unflatten(0, (m, b))


def recompose_small(
    details: Sequence[Tensor], base: Float[Tensor, "b h2 w2"]
) -> Float[Tensor, "b h w"]:
    """Do what ``pyramid.recompose`` does.

    Example:
        >>> x = torch.rand(1, 2, 32, 48)
        >>> details, bases = fuse_small(x, levels=2)
        >>> torch.allclose(recompose_small(details, bases[0]), x[0], atol=1e-6)
        True
    """
    x, width = _side_by_side(base), base.shape[-1]
    for level in reversed(details):
        height, width = level.shape[-2:]
        expand = _filters(height, width, x.dtype, x.device).expand
        x = _add_product(_side_by_side(level), expand, x, 1)
    return _apart(x, width)


def _side_by_side(images: Float[Tensor, "*n h w"]) -> Float[Tensor, "h nw"]:
    height, width = images.shape[-2:]
    return images.reshape(-1, height, width).transpose(0, 1).reshape(height, -1)


def _apart(pictures: Float[Tensor, "h nw"], width: int) -> Float[Tensor, "n h w"]:
    return pictures.view(pictures.shape[0], -1, width).transpose(0, 1)


def _product(factors: Factors, x: Float[Tensor, "h nw"], width: int) -> Float[Tensor, "h2 nw2"]:
    """Filter images side by side, each of this width."""
    rows, columns = factors
    return torch.mm(torch.mm(rows, x).view(-1, width), columns).view(rows.shape[0], -1)


def _add_product(
    x: Float[Tensor, "h2 nw2"], factors: Factors, y: Float[Tensor, "h nw"], sign: int
) -> Float[Tensor, "h2 nw2"]:
    """Return ``x + sign * _product(factors, y, ...)``."""
    rows, columns = factors
    width, filtered_width = columns.shape
    tall = torch.mm(rows, y).view(-1, width)
    total = torch.addmm(x.view(-1, filtered_width), tall, columns, alpha=sign)
    return total.view(rows.shape[0], -1)


class _Filters(NamedTuple):
    """Filters with reflected borders.

    Attributes:
        reduce: Smooths by (1 4 6 4 1) / 16 and keeps every second row and column (Burt's REDUCE).
        expand: Its counterpart, which gives images of this size (EXPAND).
        smooth: Smooths likewise.
    """

    reduce: Factors
    expand: Factors
    smooth: Factors


@lru_cache(maxsize=32)
def _filters(height: int, width: int, dtype: torch.dtype, device: torch.device) -> _Filters:
    """Return the filters of images of one size."""

    def factors(matrix: Callable[[int], Tensor]) -> Factors:
        rows, columns = (matrix(length).to(device, dtype) for length in (height, width))
        return rows, columns.t().contiguous()

    with torch.inference_mode(False):  # gradients may flow through them later
        return _Filters(factors(_reduction), factors(_expansion), factors(_smoothing))


def _reduction(length: int) -> Float[Tensor, "n2 n"]:
    return _smoothing(length)[::2]


def _expansion(length: int) -> Float[Tensor, "n n2"]:
    # Zeros between the pixels, and twice the weight; reflected before the zeros are inserted.
    places = torch.arange(length)[:, None] + torch.arange(-2, 3)
    return _weighted((length + 1) // 2, places // 2, 2 * _BINOMIAL * (places % 2 == 0))


def _smoothing(length: int) -> Float[Tensor, "n n"]:
    places = torch.arange(length)[:, None] + torch.arange(-2, 3)
    return _weighted(length, places, _BINOMIAL.expand(places.shape))


def _weighted(length: int, places: Tensor, weights: Tensor) -> Float[Tensor, "n2 n"]:
    """Return the matrix of weighted sums of the pixels at these places; borders are reflected."""
    reflected = length - 1 - (length - 1 - places.abs()).abs()
    matrix = torch.zeros(len(places), length, dtype=torch.float64)
    return matrix.scatter_add_(1, reflected, weights)
