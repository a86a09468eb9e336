"""Backbone ``laplacian-pyramid``, and the pyramid itself."""

from __future__ import annotations

from typing import Annotated, Literal

from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from fusionkit.interfaces import Backbone, Images
from fusionkit_classic.pointwise import stack


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
        details, base = decompose(stack(sources), self.levels)
        fused = base.mean(dim=0) if self.base == "average" else base.amax(dim=0)
        return recompose([most_active(level) for level in details], fused).clamp(0, 1)


def decompose(x: Tensor, levels: int) -> tuple[list[Tensor], Tensor]:
    """Split images into a Laplacian pyramid.

    Args:
        x: (m, b, 1, h, w), the sources.
        levels: Largest number of detail levels; a level needs 8 pixels in each direction.

    Returns:
        The detail levels, finest first, and the base.

    Example:
        >>> import torch
        >>> details, base = decompose(torch.rand(2, 1, 1, 32, 48), levels=2)
        >>> [tuple(level.shape[-2:]) for level in details], tuple(base.shape[-2:])
        ([(32, 48), (16, 24)], (8, 12))
    """
    details = []
    for _ in range(levels):
        if min(x.shape[-2:]) < 8:
            break
        coarse = downsample(x)
        details.append(x - upsample(coarse, (x.shape[-2], x.shape[-1])))
        x = coarse
    return details, x


def recompose(details: list[Tensor], base: Tensor) -> Tensor:
    """Return the images of a Laplacian pyramid: the inverse of ``decompose``, without loss.

    Example:
        >>> import torch
        >>> x = torch.rand(2, 1, 1, 32, 48)
        >>> torch.allclose(recompose(*decompose(x, levels=2)), x, atol=1e-6)
        True
    """
    x = base
    for level in reversed(details):
        x = upsample(x, (level.shape[-2], level.shape[-1])) + level
    return x


def most_active(level: Float[Tensor, "m b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
    """Take each coefficient from the source with the largest activity around it."""
    choice = blur(level.abs()).argmax(dim=0, keepdim=True)
    return level.gather(0, choice)[0]


def blur(x: Tensor) -> Tensor:
    """Smooth with the binomial (1 4 6 4 1) / 16 in both directions; borders are reflected."""
    shape = x.shape
    x = x.reshape(-1, 1, *shape[-2:])
    taps = x.new_tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    x = F.pad(x, (2, 2, 2, 2), mode="reflect")
    x = F.conv2d(F.conv2d(x, taps.view(1, 1, 1, 5)), taps.view(1, 1, 5, 1))
    return x.reshape(shape)


def downsample(x: Tensor) -> Tensor:
    """Blur and keep every second row and column (Burt's REDUCE)."""
    return blur(x)[..., ::2, ::2]


def upsample(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Insert zeros between the pixels and blur with four times the weight (Burt's EXPAND)."""
    h, w = size
    # Reflect before inserting zeros, so that pixels and zeros alternate beyond the border as well.
    flat = x.reshape(-1, 1, *x.shape[-2:])
    flat = F.pad(flat, (1, 1, 1, 1), mode="reflect")
    spread = flat.new_zeros(flat.shape[0], 1, 2 * flat.shape[-2], 2 * flat.shape[-1])
    spread[..., ::2, ::2] = flat
    taps = x.new_tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 8
    spread = F.conv2d(F.conv2d(spread, taps.view(1, 1, 1, 5)), taps.view(1, 1, 5, 1))
    return spread[..., :h, :w].reshape(*x.shape[:-2], h, w)
