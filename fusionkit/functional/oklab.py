"""OKLab, Björn Ottosson's perceptual colour space: lightness and two opponent colours.

Mixing a colour with white along a line of constant OKLab hue keeps the hue that people see. Along
the straight line in RGB blue turns lavender.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["linear_to_srgb", "oklab_to_rgb", "rgb_to_oklab", "srgb_to_linear"]

# The matrices of https://bottosson.github.io/posts/oklab/, revision of 2021-01-25.
_LMS_OF_RGB = torch.tensor(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ],
    dtype=torch.float64,
)
_LAB_OF_LMS = torch.tensor(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ],
    dtype=torch.float64,
)
_RGB_OF_LMS = torch.linalg.inv(_LMS_OF_RGB)
_LMS_OF_LAB = torch.linalg.inv(_LAB_OF_LMS)


def srgb_to_linear(rgb: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """Return the light of sRGB values in [0, 1] (IEC 61966-2-1).

    Example:
        >>> round(srgb_to_linear(torch.tensor(0.5)).item(), 4)
        0.214
    """
    return _choose(rgb, 0.04045, rgb / 12.92, _power((rgb + 0.055) / 1.055, 2.4))


def linear_to_srgb(light: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """Return the sRGB values of light in [0, 1]; the inverse of ``srgb_to_linear``.

    Example:
        >>> round(linear_to_srgb(torch.tensor(0.214)).item(), 3)
        0.5
    """
    curve = 1.055 * _power(light, 1 / 2.4) - 0.055
    return _choose(light, 0.0031308, 12.92 * light, curve)


def rgb_to_oklab(light: Float[Tensor, "*b 3 n"]) -> Float[Tensor, "*b 3 n"]:
    """Return lightness L (white: 1), a (green to red) and b (blue to yellow).

    Args:
        light: (..., 3, n), linear RGB with the primaries of sRGB, at least 0.

    Example:
        >>> red = rgb_to_oklab(torch.tensor([[1.0], [0.0], [0.0]]))
        >>> [round(x, 3) for x in red.flatten().tolist()]
        [0.628, 0.225, 0.126]
    """
    lms = _like(_LMS_OF_RGB, light) @ light
    return _like(_LAB_OF_LMS, light) @ _power(lms, 1 / 3)


def oklab_to_rgb(lab: Float[Tensor, "*b 3 n"]) -> Float[Tensor, "*b 3 n"]:
    """Return linear RGB, which lies outside [0, 1] for colours that sRGB does not have.

    Args:
        lab: (..., 3, n), see ``rgb_to_oklab``.

    Example:
        >>> white = oklab_to_rgb(torch.tensor([[1.0], [0.0], [0.0]]))
        >>> [round(x, 3) for x in white.flatten().tolist()]
        [1.0, 1.0, 1.0]
    """
    return _like(_RGB_OF_LMS, lab) @ (_like(_LMS_OF_LAB, lab) @ lab) ** 3


def _choose(values: Tensor, limit: float, below: Tensor, above: Tensor) -> Tensor:
    """Return ``below`` up to the limit and ``above`` beyond it, faster than ``torch.where``."""
    values = values.detach()
    beyond = torch.gt(values, values.new_tensor(limit), out=torch.empty_like(values))
    return torch.lerp(below, above, beyond)


def _power(values: Tensor, exponent: float) -> Tensor:
    """Return values that are at least 0, to a power; a third of the time of ``**`` on a CPU."""
    return (values.log() * exponent).exp()


def _like(matrix: Tensor, values: Tensor) -> Tensor:
    return matrix.to(values.device, values.dtype)
