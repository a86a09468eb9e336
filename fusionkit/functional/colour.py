"""Luminance and chroma by BT.601 in full range, and the 8-bit grey of OpenCV and MATLAB."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

__all__ = ["channels_first", "grey_u8", "join_chroma", "luminance", "split_chroma"]

_RED, _GREEN, _BLUE = 0.299, 0.587, 0.114


def channels_first(pixels: Float[np.ndarray, "h w *rgb"]) -> Float[Tensor, "c h w"]:
    """Return an image array as a tensor with its channels first.

    Args:
        pixels: (h, w), or (h, w, c).

    Returns:
        (1, h, w) or (c, h, w), contiguous.

    Example:
        >>> channels_first(np.zeros((20, 30, 3))).shape, channels_first(np.zeros((20, 30))).shape
        (torch.Size([3, 20, 30]), torch.Size([1, 20, 30]))
    """
    values = torch.from_numpy(pixels)
    return values[None] if values.ndim == 2 else values.movedim(-1, 0).contiguous()


def luminance(image: Float[Tensor, "*b c h w"]) -> Float[Tensor, "*b 1 h w"]:
    """Return Y = 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601); a grey image comes back unchanged.

    Args:
        image: (..., 3, h, w) or (..., 1, h, w) in [0, 1].

    Example:
        >>> luminance(torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1)).item()
        0.29899999499320984
    """
    if image.shape[-3] == 1:
        return image
    red, green, blue = image.unbind(-3)
    # Written around green so that grey comes back bit by bit: 0.299 + 0.587 + 0.114 isn't 1.
    return (green + _RED * (red - green) + _BLUE * (blue - green)).unsqueeze(-3)


def split_chroma(
    image: Float[Tensor, "*b c h w"],
) -> tuple[Float[Tensor, "*b 1 h w"], Float[Tensor, "*b 2 h w"] | None]:
    """Return luminance in [0, 1], and Cb and Cr in [0, 1], where 0.5 means no colour.

    Args:
        image: (..., 3, h, w) or (..., 1, h, w) in [0, 1]; the chroma of a grey image is None.

    Example:
        >>> luma, chroma = split_chroma(torch.full((3, 20, 30), 0.25))
        >>> luma.unique().item(), chroma.unique().item()
        (0.25, 0.5)
    """
    y = luminance(image)
    if image.shape[-3] == 1:
        return y, None
    red, blue = image[..., 0:1, :, :], image[..., 2:3, :, :]
    cb = (blue - y) / (2 - 2 * _BLUE) + 0.5
    cr = (red - y) / (2 - 2 * _RED) + 0.5
    return y, torch.cat((cb, cr), dim=-3)


def join_chroma(
    luma: Float[Tensor, "*b 1 h w"], chroma: Float[Tensor, "*b 2 h w"]
) -> Float[Tensor, "*b 3 h w"]:
    """Return RGB in [0, 1]; the inverse of ``split_chroma``.

    A new luminance can push a channel out of [0, 1]. Clipping that channel would change the hue
    and the luminance. Instead the chroma of the pixel is scaled down until all channels fit, which
    keeps both.

    Args:
        luma: (..., 1, h, w); values outside [0, 1] are clipped.
        chroma: (..., 2, h, w), Cb and Cr in [0, 1].

    Example:
        >>> rgb = torch.tensor([0.75, 0.5, 0.25]).view(3, 1, 1)
        >>> torch.allclose(join_chroma(*split_chroma(rgb)), rgb)
        True
    """
    cb, cr = (chroma - 0.5).split(1, dim=-3)
    luma = luma.clamp(0, 1)
    red = (2 - 2 * _RED) * cr
    blue = (2 - 2 * _BLUE) * cb
    green = -(_RED * red + _BLUE * blue) / _GREEN
    offsets = torch.cat((red, green, blue), dim=-3)
    # How many times too large the offsets are for the room above and below the luminance.
    above = offsets.amax(dim=-3, keepdim=True) / (1 - luma).clamp_min(1e-12)
    below = offsets.amin(dim=-3, keepdim=True) / -luma.clamp_min(1e-12)
    scale = 1 / torch.maximum(above, below).clamp_min(1)
    return (luma + scale * offsets).clamp(0, 1)


def grey_u8(
    rgb: UInt8[np.ndarray, "h w 3"], how: Literal["opencv", "matlab"] = "opencv"
) -> UInt8[np.ndarray, "h w"]:
    """Return the 8-bit grey of an 8-bit RGB image, rounded exactly as by OpenCV or MATLAB.

    OpenCV computes (9798 R + 19235 G + 3735 B + 2^14) >> 15, which is BT.601 in fixed point.
    MATLAB's rgb2gray rounds 0.2989 R + 0.5870 G + 0.1140 B.

    Args:
        rgb: (h, w, 3) uint8.
        how: ``opencv`` or ``matlab``.

    Example:
        >>> grey_u8(np.array([[[255, 128, 0]]], np.uint8))
        array([[151]], dtype=uint8)
    """
    if how == "matlab":
        values = rgb.astype(np.float64) @ np.array([0.2989, 0.5870, 0.1140])
        return np.floor(values + 0.5).astype(np.uint8)
    weights = np.array([9798, 19235, 3735], dtype=np.int64)
    return ((rgb.astype(np.int64) @ weights + (1 << 14)) >> 15).astype(np.uint8)
