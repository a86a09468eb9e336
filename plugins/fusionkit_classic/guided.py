"""Backbone ``guided-filter``: fusion weights refined by the guided filter."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from fusionkit.interfaces import Backbone, Images
from fusionkit_classic.pointwise import stack
from fusionkit_classic.strips import in_strips, leads, padded, wins

_GAUSSIAN = tuple(math.exp((25 - k * k) / 50) for k in range(-5, 6))
_STRIP = 2**17
"""Pixels whose running sums are taken at a time: few enough for the CPU cache."""


class GuidedFilter(Backbone):
    """Guided filter fusion of base and detail layers (Li, Kang and Hu, IEEE TIP 2013).

    A mean filter splits each source into a base layer and a detail layer. The most salient source
    of each pixel gets weight 1 and the others 0. The guided filter, with the source as its guide,
    smooths these weights: strongly for the base layers, weakly for the detail layers.

    Args:
        base_radius: Radius of the guided filter for the base weights, in pixels.
        base_eps: Regularization of the guided filter for the base weights, in squared grey levels
            of the range [0, 1].
        detail_radius: Radius of the guided filter for the detail weights, in pixels.
        detail_eps: Regularization of the guided filter for the detail weights.
        average: Side of the mean filter that splits base from detail, in pixels; an even number
            counts as the next odd one.

    Example:
        >>> import torch
        >>> import fusionkit as fk
        >>> backbone = fk.build("backbone", name="guided-filter", base_radius=15)
        >>> sources = {"infrared": torch.rand(2, 1, 48, 64), "visible": torch.rand(2, 1, 48, 64)}
        >>> tuple(backbone(sources).shape)
        (2, 1, 48, 64)
    """

    name = "guided-filter"

    def __init__(
        self,
        base_radius: Annotated[int, Field(ge=1)] = 45,
        base_eps: Annotated[float, Field(gt=0)] = 0.3,
        detail_radius: Annotated[int, Field(ge=1)] = 7,
        detail_eps: Annotated[float, Field(gt=0)] = 1e-6,
        average: Annotated[int, Field(ge=3)] = 31,
    ):
        super().__init__()
        self.base_radius, self.base_eps = base_radius, base_eps
        self.detail_radius, self.detail_eps = detail_radius, detail_eps
        self.average = average

    def forward(self, sources: Images) -> Float[Tensor, "b 1 h w"]:
        """Fuse a batch; returns the common image where all sources are equal."""
        x = stack(sources).squeeze(2)
        base = box_mean(x, self.average // 2)
        chosen = in_strips(partial(_most_salient_rows, x), x)
        weights = [
            guided_filter(x, chosen, radius, eps).clamp_(0, 1)
            for radius, eps in (
                (self.base_radius, self.base_eps),
                (self.detail_radius, self.detail_eps),
            )
        ]

        def rows(top: int, bottom: int) -> Tensor:
            image, blurred, *both = (t[..., top:bottom, :] for t in (x, base, *weights))
            base_weight, detail_weight = (w / w.sum(dim=0).clamp_min(1e-6) for w in both)
            fused = base_weight.mul_(blurred).add_(detail_weight.mul_(image - blurred))
            return fused.sum(dim=0).clamp_(0, 1)

        return in_strips(rows, x)[:, None]


def guided_filter(
    guide: Float[Tensor, "*b h w"], x: Float[Tensor, "*b h w"], radius: int, eps: float
) -> Float[Tensor, "*b h w"]:
    """Smooth ``x`` except across the edges of ``guide`` (He, Sun and Tang, ECCV 2010).

    Args:
        guide: (..., h, w), usually in [0, 1].
        x: (..., h, w), the images to smooth.
        radius: Radius of the window in pixels.
        eps: Regularization; larger values smooth across stronger edges.

    Example:
        >>> import torch
        >>> edge = torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0, 1.0]).repeat(6, 1)
        >>> guided_filter(edge, edge, radius=2, eps=1e-6)[0].round(decimals=3)
        tensor([0., 0., 0., 1., 1., 1.])
    """

    def add_products(sums: Tensor, rows: slice, sign: int) -> None:
        # float64, because the variance of a window is a small difference of large numbers.
        g, y = guide[..., rows, :].double(), x[..., rows, :].double()
        sums[0].add_(g, alpha=sign)
        sums[1].add_(y, alpha=sign)
        sums[2].addcmul_(g, g, value=sign)
        sums[3].addcmul_(g, y, value=sign)

    lines = x.new_empty((2, *x.shape), dtype=torch.float64)
    for rows, means in _window_means(add_products, (4, *x.shape), radius, x.device):
        mean_g, mean_x, mean_gg, mean_gx = means
        variance = torch.addcmul(mean_gg, mean_g, mean_g, value=-1)
        slope = torch.addcmul(mean_gx, mean_g, mean_x, value=-1).div_(variance.add_(eps))
        lines[0, ..., rows, :] = slope
        lines[1, ..., rows, :] = torch.addcmul(mean_x, slope, mean_g, value=-1)

    def add_lines(sums: Tensor, rows: slice, sign: int) -> None:
        sums.add_(lines[..., rows, :], alpha=sign)

    result = torch.empty_like(x)
    for rows, (slope, offset) in _window_means(add_lines, lines.shape, radius, x.device):
        result[..., rows, :] = torch.addcmul(offset, slope, guide[..., rows, :])
    return result


def box_mean(x: Float[Tensor, "*b h w"], radius: int) -> Float[Tensor, "*b h w"]:
    """Return the mean of the (2 radius + 1)-square window around each pixel.

    At the border, only the part of the window inside the image counts.

    Example:
        >>> import torch
        >>> box_mean(torch.tensor([[0.0, 3.0, 6.0]]), radius=1)
        tensor([[1.5000, 3.0000, 4.5000]])
    """

    def add(sums: Tensor, rows: slice, sign: int) -> None:
        sums.add_(x[..., rows, :], alpha=sign)

    strips = _window_means(add, x.shape, radius, x.device)
    return torch.cat([means.to(x.dtype) for _, means in strips], dim=-2)


def _window_means(
    add: Callable[[Float[Tensor, "*k n w"], slice, int], None],
    shape: Sequence[int],
    radius: int,
    device: torch.device,
) -> Iterator[tuple[slice, Float[Tensor, "*k n w"]]]:
    """Slide a window over images, from top to bottom.

    Running sums in float64 make the time independent of the radius. Each row is read only twice:
    when it enters the window and when it leaves it.

    Args:
        add: Adds rows of the images, times 1 or -1, to a tensor.
        shape: (..., h, w), shape of the images.
        radius: Radius of the window in pixels.
        device: Device of the sums.

    Yields:
        Rows, and the means of the windows around their pixels.
    """
    *batch, height, width = shape
    step = max(8, _STRIP // (math.prod(batch) * width))
    side = 2 * radius + 1

    def counts(start: int, stop: int, length: int) -> Tensor:
        """Return how many pixels of a line of ``length`` each window has inside it."""
        at = torch.arange(start, stop, dtype=torch.float64, device=device)
        return (at + radius).clamp_max(length - 1) - (at - radius).clamp_min(0) + 1

    columns = counts(0, width, width)
    # Start with the sum of the window of row -1.
    first = torch.zeros(*batch, min(radius, height), width, dtype=torch.float64, device=device)
    add(first, slice(0, first.shape[-2]), 1)
    total = first.sum(dim=-2)
    for top in range(0, height, step):
        bottom = min(top + step, height)
        entering = slice(min(top + radius, height), min(bottom + radius, height))
        leaving = slice(max(0, top - radius - 1), max(0, bottom - radius - 1))
        # Zeros on both sides of a row stand for the pixels outside of the image.
        sums = total.new_zeros((*batch, bottom - top, width + side))
        inner = sums[..., radius + 1 : radius + 1 + width]
        inner[..., 0, :] = total
        add(inner[..., : entering.stop - entering.start, :], entering, 1)
        add(inner[..., bottom - top - leaving.stop + leaving.start :, :], leaving, -1)
        sums = sums.cumsum_(dim=-2)
        total = inner[..., -1, :].clone()
        sums = sums.cumsum_(dim=-1)
        means = sums[..., side:] - sums[..., :-side]
        means *= (1 / counts(top, bottom, height))[:, None] / columns
        yield slice(top, bottom), means


def _most_salient_rows(x: Tensor, top: int, bottom: int) -> Tensor:
    """Return rows of 1 for the most salient source of each pixel, and of 0 for the others."""
    reach = len(_GAUSSIAN) // 2
    first, last = max(0, top - reach), min(bottom + reach, x.shape[-2])
    with torch.no_grad():
        around = padded(x, first - 1, last + 1, columns=1)
        centre = around[..., 1:-1, 1:-1]
        laplacian = around[..., :-2, 1:-1] + around[..., 2:, 1:-1]
        laplacian.add_(around[..., 1:-1, :-2]).add_(around[..., 1:-1, 2:]).sub_(centre, alpha=4)
        found = wins(leads(laplacian.abs_(), top - first, bottom - first, _GAUSSIAN))
        chosen = [torch.ones_like(x[0, ..., top:bottom, :])]
        for win in found:
            chosen = [*(other * (1 - win) for other in chosen), win]
    return torch.stack(chosen)
