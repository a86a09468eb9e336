"""Backbone ``laplacian-pyramid``, and the pyramid itself."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from fusionkit.interfaces import Backbone, Images
from fusionkit_classic.matrices import SHORTEST, fuse_small, is_small, recompose_small
from fusionkit_classic.pointwise import stack
from fusionkit_classic.strips import in_strips, leads, most_active, padded, smooth

_BINOMIAL = (1.0, 4.0, 6.0, 4.0, 1.0)


class LaplacianPyramid(Backbone):
    """Laplacian pyramid fusion: the most active detail at each scale (Burt and Adelson, 1983).

    Each detail coefficient comes from the source with the largest activity there. The activity is
    the coefficient's magnitude, smoothed with the 5-tap binomial of the pyramid, so that
    neighbouring pixels tend to choose the same source. Burt and Adelson, "The Laplacian Pyramid as
    a Compact Image Code", IEEE Transactions on Communications, 1983.

    Args:
        levels: Largest number of detail levels; a small image has fewer.
        base: How to fuse the coarsest level: ``average`` or ``max``.

    Example:
        >>> import torch
        >>> import fusionkit as fk
        >>> backbone = fk.build("backbone", name="laplacian-pyramid", levels=3)
        >>> sources = {"infrared": torch.rand(2, 1, 48, 64), "visible": torch.rand(2, 1, 48, 64)}
        >>> tuple(backbone(sources).shape)
        (2, 1, 48, 64)
    """

    name = "laplacian-pyramid"

    def __init__(
        self,
        levels: Annotated[int, Field(ge=1, le=10)] = 4,
        base: Literal["average", "max"] = "average",
    ):
        super().__init__()
        self.levels = levels
        self.base = base

    def forward(self, sources: Images) -> Float[Tensor, "b 1 h w"]:
        """Fuse a batch; returns the common image where all sources are equal."""
        details, bases = fuse_details(stack(sources).squeeze(2), self.levels)
        fused = bases.mean(dim=0) if self.base == "average" else bases.amax(dim=0)
        return recompose(details, fused).clamp(0, 1)[:, None]


def fuse_details(
    x: Float[Tensor, "m b h w"], levels: int
) -> tuple[list[Float[Tensor, "b h2 w2"]], Float[Tensor, "m b h3 w3"]]:
    """Take each coefficient of a Laplacian pyramid from the source that is most active there.

    The activity is the magnitude of the coefficients, smoothed by (1 4 6 4 1) / 16. The first of
    several equal sources wins.

    Args:
        x: (m, b, h, w), the sources.
        levels: Largest number of detail levels; a level needs 8 pixels in each direction.

    Returns:
        The fused details, finest first, and the bases of all sources.

    Example:
        >>> import torch
        >>> details, bases = fuse_details(torch.rand(2, 1, 32, 48), levels=2)
        >>> [tuple(level.shape[-2:]) for level in details], tuple(bases.shape)
        ([(32, 48), (16, 24)], (2, 1, 8, 12))
    """
    details = []
    while len(details) < levels and min(x.shape[-2:]) >= SHORTEST:
        if is_small(x):
            small, bases = fuse_small(x, levels - len(details))
            return details + small, bases
        coarse = downsample(x)
        details.append(in_strips(partial(_fused_rows, x, coarse), x))
        x = coarse
    return details, x


def recompose(details: list[Tensor], base: Tensor) -> Tensor:
    """Return the images of a Laplacian pyramid.

    Example:
        >>> import torch
        >>> x = torch.rand(1, 2, 32, 48)
        >>> details, bases = fuse_details(x, levels=2)  # of a single source: nothing is lost
        >>> torch.allclose(recompose(details, bases[0]), x[0], atol=1e-6)
        True
    """
    large = next((k for k, level in enumerate(details) if is_small(level)), len(details))
    x = recompose_small(details[large:], base) if details[large:] else base
    for level in reversed(details[:large]):
        x = in_strips(partial(_add_upsampled_rows, level, x, 1), level)
    return x


def downsample(x: Tensor) -> Tensor:
    """Smooth by (1 4 6 4 1) / 16 and keep every second row and column (Burt's REDUCE).

    Borders are reflected.
    """
    width = (x.shape[-1] + 1) // 2

    def rows(top: int, bottom: int) -> Tensor:
        columns = smooth(padded(x, 2 * top - 2, 2 * bottom + 1, columns=2), -2, _BINOMIAL, step=2)
        even, odd = columns[..., ::2].contiguous(), columns[..., 1::2].contiguous()
        left, centre, right = even.unfold(-1, width, 1).unbind(-2)
        total = (left + right).add_(centre, alpha=6)
        total.add_(odd[..., :width], alpha=4).add_(odd[..., 1 : width + 1], alpha=4)
        return total.mul_(1 / 256)

    return in_strips(rows, x[..., ::2, :])


def upsample(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Insert zeros between the pixels and smooth with four times the weight (Burt's EXPAND)."""
    zero = x.new_zeros(()).expand(*x.shape[:-2], *size)
    return in_strips(partial(_add_upsampled_rows, zero, x, 1), zero)


def _fused_rows(x: Tensor, coarse: Tensor, top: int, bottom: int) -> Tensor:
    """Return rows of the details of the most active source."""
    height = x.shape[-2]
    first, last = max(0, top - 2), min(bottom + 2, height)
    level = _add_upsampled_rows(x, coarse, -1, first, last)
    values = level[..., top - first : bottom - first, :].unbind()
    return most_active(values, leads(level.detach().abs(), top - first, bottom - first, _BINOMIAL))


def _add_upsampled_rows(x: Tensor, coarse: Tensor, sign: int, top: int, bottom: int) -> Tensor:
    """Return rows of ``x + sign * upsample(coarse)``."""
    # Where zeros were inserted, every second tap of (1 4 6 4 1) meets a pixel: 1 6 1 at the places
    # of pixels and 4 4 between them. Reflect before, so that pixels and zeros alternate beyond the
    # border as well.
    above = top // 2
    wide = _woven(padded(coarse, above - 1, (bottom + 1) // 2 + 1, columns=1), -1)
    total = _woven(wide, -2)[..., top - 2 * above : bottom - 2 * above, : x.shape[-1]]
    return torch.add(x[..., top:bottom, :], total, alpha=sign / 64)


def _woven(x: Tensor, dim: int) -> Tensor:
    """Return (1 6 1) and (0 4 4) of the neighbours of each inner pixel, in turn."""
    count = x.shape[dim] - 2
    before, centre, after = (x.narrow(dim, k, count) for k in range(3))
    shape = list(x.shape)
    shape[dim] = 2 * count
    result = x.new_empty(shape)
    pairs = result.unflatten(dim, (count, 2))
    pairs.select(dim, 0).copy_((before + after).add_(centre, alpha=6))
    pairs.select(dim, 1).copy_((centre + after).mul_(4))
    return result
