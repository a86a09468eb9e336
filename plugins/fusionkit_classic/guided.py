"""Backbone ``guided-filter``: fusion weights refined by the guided filter."""

from __future__ import annotations

from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from fusionkit.functional.windows import gaussian_window
from fusionkit.interfaces import Backbone, Images
from fusionkit_classic.pointwise import stack


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
        x = stack(sources)
        flat = x.flatten(0, 1)
        base = box_mean(flat, self.average // 2).view_as(x)
        detail = x - base
        saliency = _blur(_laplacian(flat).abs(), radius=5, sigma=5.0).view_as(x)
        winner = saliency.argmax(dim=0, keepdim=True)
        chosen = torch.zeros_like(x).scatter_(0, winner, 1.0).flatten(0, 1)
        weights = [
            guided_filter(flat, chosen, radius, eps).view_as(x).clamp(0, 1)
            for radius, eps in (
                (self.base_radius, self.base_eps),
                (self.detail_radius, self.detail_eps),
            )
        ]
        base_weight, detail_weight = (w / w.sum(dim=0).clamp_min(1e-6) for w in weights)
        return ((base_weight * base) + (detail_weight * detail)).sum(dim=0).clamp(0, 1)


def guided_filter(
    guide: Float[Tensor, "b 1 h w"], x: Float[Tensor, "b 1 h w"], radius: int, eps: float
) -> Float[Tensor, "b 1 h w"]:
    """Smooth ``x`` except across the edges of ``guide`` (He, Sun and Tang, ECCV 2010).

    Args:
        guide: (b, 1, h, w), usually in [0, 1].
        x: (b, 1, h, w), the images to smooth.
        radius: Radius of the window in pixels.
        eps: Regularization; larger values smooth across stronger edges.

    Example:
        >>> import torch
        >>> edge = torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0, 1.0]).repeat(6, 1)[None, None]
        >>> guided_filter(edge, edge, radius=2, eps=1e-6)[0, 0, 0].round(decimals=3)
        tensor([0., 0., 0., 1., 1., 1.])
    """
    # float64, because the variance of a window is a small difference of large numbers.
    dtype = x.dtype
    guide, x = guide.double(), x.double()
    mean_g, mean_x = box_mean(guide, radius), box_mean(x, radius)
    variance = box_mean(guide * guide, radius) - mean_g**2
    covariance = box_mean(guide * x, radius) - mean_g * mean_x
    slope = covariance / (variance + eps)
    offset = mean_x - slope * mean_g
    return (box_mean(slope, radius) * guide + box_mean(offset, radius)).to(dtype)


def box_mean(x: Float[Tensor, "b 1 h w"], radius: int) -> Float[Tensor, "b 1 h w"]:
    """Return the mean of the (2 radius + 1)-square window around each pixel.

    At the border, only the part of the window inside the image counts.

    Example:
        >>> import torch
        >>> box_mean(torch.tensor([[[[0.0, 3.0, 6.0]]]]), radius=1)
        tensor([[[[1.5000, 3.0000, 4.5000]]]])
    """
    for axis in (-2, -1):
        length = x.shape[axis]
        reach = min(radius, length - 1)
        shape = (2 * reach + 1, 1) if axis == -2 else (1, 2 * reach + 1)
        padding = (reach, 0) if axis == -2 else (0, reach)
        x = F.avg_pool2d(x, shape, stride=1, padding=padding, count_include_pad=False)
    return x


def _laplacian(x: Tensor) -> Tensor:
    kernel = x.new_tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])
    return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), kernel.view(1, 1, 3, 3))


def _blur(x: Tensor, radius: int, sigma: float) -> Tensor:
    taps = gaussian_window(2 * radius + 1, sigma, dtype=x.dtype, device=x.device)
    x = F.pad(x, (radius,) * 4, mode="reflect")
    return F.conv2d(F.conv2d(x, taps.view(1, 1, 1, -1)), taps.view(1, 1, -1, 1))
