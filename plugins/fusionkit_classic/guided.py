"""Fusion with weights refined by guided filtering."""

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
    """Two scales, weighted by saliency refined with the guided filter (Li, Kang and Hu, 2013).

    Args:
        base_radius: Radius in pixels of the filter that refines the weights of the base layers.
        base_eps: Its regularisation.
        detail_radius: The same for the detail layers.
        detail_eps: Its regularisation.
        average: Side in pixels, odd, of the mean filter that splits base from detail.
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
        """Fuse; sources that are equal come back."""
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
    """Smooth ``x`` but for the edges of ``guide`` (He, Sun and Tang, ECCV 2010).

    In float64: the variance of a window is a small difference of large numbers.
    """
    dtype = x.dtype
    guide, x = guide.double(), x.double()
    mean_g, mean_x = box_mean(guide, radius), box_mean(x, radius)
    variance = box_mean(guide * guide, radius) - mean_g**2
    covariance = box_mean(guide * x, radius) - mean_g * mean_x
    slope = covariance / (variance + eps)
    offset = mean_x - slope * mean_g
    return (box_mean(slope, radius) * guide + box_mean(offset, radius)).to(dtype)


def box_mean(x: Float[Tensor, "b 1 h w"], radius: int) -> Float[Tensor, "b 1 h w"]:
    """Mean over the (2 radius + 1)-square window, over what of it lies inside the image."""
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
