"""Gradients of images by the Sobel operator."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

__all__ = ["sobel"]


def sobel(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c 2 h w"]:
    """Return the derivatives along width and height: the Sobel operator over 8, borders replicated.

    It has the values of kornia's ``spatial_gradient``. That copies its kernel to the device at each
    call, and the CPU waits for the copy; here the device makes the kernel.

    Args:
        x: Images.

    Example:
        >>> ramp = torch.arange(5.0).expand(1, 1, 5, 5)
        >>> sobel(ramp)[0, 0, :, 2]
        tensor([[0.5000, 1.0000, 1.0000, 1.0000, 0.5000],
                [0.0000, 0.0000, 0.0000, 0.0000, 0.0000]])
    """
    difference = torch.arange(-1, 2, dtype=x.dtype, device=x.device)
    along_width = (2 - difference.abs())[:, None] * difference / 8
    kernel = torch.stack((along_width, along_width.T))[:, None]
    b, c, h, w = x.shape
    padded = F.pad(x.reshape(b * c, 1, h, w), (1, 1, 1, 1), mode="replicate")
    return F.conv2d(padded, kernel).reshape(b, c, 2, h, w)
