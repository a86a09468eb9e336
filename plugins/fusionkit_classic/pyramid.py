"""Fusion of Laplacian pyramids."""

from __future__ import annotations

from typing import Annotated, Literal

from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from fusionkit.interfaces import Backbone, Images
from fusionkit_classic.pointwise import stack


class LaplacianPyramid(Backbone):
    """Strongest detail at each scale, and the mean of what is left (Burt and Adelson, 1983).

    Of each detail level the coefficient of the source with the larger activity is taken, the
    activity being the magnitude averaged by the same 5-tap binomial; so neighbouring pixels agree
    on a source and noise does not flicker between them.

    Args:
        levels: Number of detail levels; fewer where the image has not that many.
        base: What becomes of the coarsest level: its ``average`` or its ``max``.
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
        """Fuse; sources that are equal come back."""
        details, base = decompose(stack(sources), self.levels)
        fused = base.mean(dim=0) if self.base == "average" else base.amax(dim=0)
        return recompose([most_active(level) for level in details], fused).clamp(0, 1)


def decompose(x: Tensor, levels: int) -> tuple[list[Tensor], Tensor]:
    """Split (m, b, 1, h, w) into detail levels, finest first, and the base."""
    details = []
    for _ in range(levels):
        if min(x.shape[-2:]) < 8:
            break
        smaller = shrink(x)
        details.append(x - enlarge(smaller, (x.shape[-2], x.shape[-1])))
        x = smaller
    return details, x


def recompose(details: list[Tensor], base: Tensor) -> Tensor:
    """Invert ``decompose`` exactly."""
    x = base
    for level in reversed(details):
        x = enlarge(x, (level.shape[-2], level.shape[-1])) + level
    return x


def most_active(level: Float[Tensor, "m b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
    """Take each coefficient from the source that is most active around it."""
    choice = blur(level.abs()).argmax(dim=0, keepdim=True)
    return level.gather(0, choice)[0]


def blur(x: Tensor) -> Tensor:
    """Smooth with the 5-tap binomial (1 4 6 4 1) / 16 in both directions, reflected borders."""
    shape = x.shape
    x = x.reshape(-1, 1, *shape[-2:])
    taps = x.new_tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    x = F.pad(x, (2, 2, 2, 2), mode="reflect")
    x = F.conv2d(F.conv2d(x, taps.view(1, 1, 1, 5)), taps.view(1, 1, 5, 1))
    return x.reshape(shape)


def shrink(x: Tensor) -> Tensor:
    """Blur and keep every second row and column."""
    return blur(x)[..., ::2, ::2]


def enlarge(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Put zeros between the pixels and blur with four times the weight: Burt's expand."""
    h, w = size
    # Reflect by one coarse pixel first, so that the zeros stay in step at the border.
    flat = x.reshape(-1, 1, *x.shape[-2:])
    flat = F.pad(flat, (1, 1, 1, 1), mode="reflect")
    spread = flat.new_zeros(flat.shape[0], 1, 2 * flat.shape[-2], 2 * flat.shape[-1])
    spread[..., ::2, ::2] = flat
    taps = x.new_tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 8
    spread = F.conv2d(F.conv2d(spread, taps.view(1, 1, 1, 5)), taps.view(1, 1, 5, 1))
    return spread[..., :h, :w].reshape(*x.shape[:-2], h, w)
