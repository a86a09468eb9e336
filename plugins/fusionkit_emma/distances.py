"""Distances between images: L1, L1 with Sobel gradients (EMMA), and structural similarity."""

from __future__ import annotations

from typing import Annotated

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from fusionkit.functional.gradients import sobel
from fusionkit.functional.windows import gaussian_window
from fusionkit.interfaces import Distance


class L1(Distance):
    """mean |a - b|.

    Example:
        >>> L1()(torch.zeros(1, 1, 8, 8), torch.full((1, 1, 8, 8), 0.25)).item()
        0.25
    """

    name = "l1"

    def forward(
        self,
        a: Float[Tensor, "b 1 h w"],
        b: Float[Tensor, "b 1 h w"],
        mask: Bool[Tensor, "b 1 h w"] | None = None,
    ) -> Float[Tensor, ""]:
        """Return the mean absolute difference, a scalar; of the pixels in ``mask`` if given."""
        return masked_mean((a - b).abs(), mask)


class L1Sobel(Distance):
    """intensity * mean |a - b| + gradient * mean |grad a - grad b|, EMMA eq. (6).

    ``grad`` is the Sobel operator divided by 8 with replicated borders (kornia's normalised
    ``SpatialGradient``), both directions averaged.

    Args:
        intensity: Coefficient of the intensity term.
        gradient: Coefficient of the gradient term.

    Example:
        >>> image = torch.rand(1, 1, 16, 16)
        >>> round(L1Sobel()(image, image + 0.25).item(), 3)  # gradients do not see an offset
        0.25
    """

    name = "l1-sobel"

    def __init__(
        self,
        intensity: Annotated[float, Field(ge=0)] = 1.0,
        gradient: Annotated[float, Field(ge=0)] = 1.0,
    ):
        super().__init__()
        self.intensity = intensity
        self.gradient = gradient

    def forward(
        self,
        a: Float[Tensor, "b 1 h w"],
        b: Float[Tensor, "b 1 h w"],
        mask: Bool[Tensor, "b 1 h w"] | None = None,
    ) -> Float[Tensor, ""]:
        """Return the distance, a scalar; of the pixels in ``mask`` if given.

        The gradient at a pixel depends on its eight neighbours, so its mask is eroded by one pixel.
        """
        difference = a - b
        # Sobel is linear, so the gradient of the difference is the difference of the gradients.
        gradient = sobel(difference).abs().mean(dim=2)
        inner = None if mask is None else erode(mask)
        return self.intensity * masked_mean(difference.abs(), mask) + self.gradient * masked_mean(
            gradient, inner
        )


class SSIM(Distance):
    """1 - mean SSIM with a Gaussian window (Wang et al., IEEE TIP 2004), for images in [0, 1].

    Args:
        window: Side of the window in pixels; an even number is increased by one.
        sigma: Standard deviation of the Gaussian in pixels.
        intensity: Coefficient of an added mean |a - b|, as SSIM hardly depends on offsets.

    Example:
        >>> image = torch.rand(1, 1, 32, 32)
        >>> SSIM()(image, image).item() < 1e-6
        True
    """

    name = "ssim"

    def __init__(
        self,
        window: Annotated[int, Field(ge=3, le=31)] = 11,
        sigma: Annotated[float, Field(gt=0)] = 1.5,
        intensity: Annotated[float, Field(ge=0)] = 0.0,
    ):
        super().__init__()
        self.window = window + 1 - window % 2
        self.sigma = sigma
        self.intensity = intensity

    def forward(
        self,
        a: Float[Tensor, "b 1 h w"],
        b: Float[Tensor, "b 1 h w"],
        mask: Bool[Tensor, "b 1 h w"] | None = None,
    ) -> Float[Tensor, ""]:
        """Return the distance, a scalar; of the pixels in ``mask`` if given."""
        similarity = _ssim_map(a, b, self.window, self.sigma)
        distance = masked_mean(1 - similarity, mask)
        return distance + self.intensity * masked_mean((a - b).abs(), mask)


def _ssim_map(a: Tensor, b: Tensor, window: int, sigma: float) -> Tensor:
    kernel = gaussian_window(window, sigma, dtype=a.dtype, device=a.device)

    def blur(x: Tensor) -> Tensor:
        half = window // 2
        x = F.pad(x, (half, half, half, half), mode="replicate")
        channels = x.shape[1]
        x = F.conv2d(x, kernel.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
        return F.conv2d(x, kernel.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)

    mean_a, mean_b, aa, bb, ab = blur(torch.cat((a, b, a * a, b * b, a * b), dim=1)).chunk(5, 1)
    c1, c2 = 0.01**2, 0.03**2
    covariance = ab - mean_a * mean_b
    variances = (aa - mean_a**2) + (bb - mean_b**2)
    return ((2 * mean_a * mean_b + c1) * (2 * covariance + c2)) / (
        (mean_a**2 + mean_b**2 + c1) * (variances + c2)
    )


def masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Return the mean of ``values``, of those in ``mask`` if given; 0 if the mask is empty.

    Args:
        values: (b, c, h, w).
        mask: (b, 1, h, w), bool.

    Example:
        >>> values = torch.tensor([[[[1.0, 3.0]]]])
        >>> masked_mean(values, values > 2).item()
        3.0
    """
    if mask is None:
        return values.mean()
    weights = mask.to(values.dtype).expand_as(values)
    return (values * weights).sum() / weights.sum().clamp_min(1)


def erode(mask: Bool[Tensor, "b 1 h w"]) -> Bool[Tensor, "b 1 h w"]:
    """Remove the pixels from a mask that have a neighbour outside it, of eight neighbours.

    Example:
        >>> mask = torch.ones(1, 1, 5, 5, dtype=torch.bool)
        >>> mask[..., 0, 0] = False
        >>> int(erode(mask).sum())
        21
    """
    return F.max_pool2d((~mask).float(), 3, stride=1, padding=1) == 0
