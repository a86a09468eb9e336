"""Luminance and chroma, BT.601 full range, and OpenCV's grey."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

__all__ = ["grey_u8", "join_chroma", "luminance", "split_chroma"]

_RED, _GREEN, _BLUE = 0.299, 0.587, 0.114


def luminance(rgb: Float[Tensor, "*b 3 h w"]) -> Float[Tensor, "*b 1 h w"]:
    """Return Y = 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601)."""
    red, green, blue = rgb.unbind(-3)
    # Written around green, so that grey comes back bit by bit: 0.299 + 0.587 + 0.114 isn't 1.
    return (green + _RED * (red - green) + _BLUE * (blue - green)).unsqueeze(-3)


def split_chroma(
    rgb: Float[Tensor, "*b 3 h w"],
) -> tuple[Float[Tensor, "*b 1 h w"], Float[Tensor, "*b 2 h w"]]:
    """Return luminance in [0, 1], and Cb and Cr in [0, 1] with 0.5 for no colour."""
    y = luminance(rgb)
    red, blue = rgb[..., 0:1, :, :], rgb[..., 2:3, :, :]
    cb = (blue - y) / (2 - 2 * _BLUE) + 0.5
    cr = (red - y) / (2 - 2 * _RED) + 0.5
    return y, torch.cat((cb, cr), dim=-3)


def join_chroma(
    luma: Float[Tensor, "*b 1 h w"], chroma: Float[Tensor, "*b 2 h w"]
) -> Float[Tensor, "*b 3 h w"]:
    """Return RGB in [0, 1]; inverts ``split_chroma``.

    A new luminance can push a channel out of [0, 1]. Cutting that channel off would change the hue
    and the luminance; instead the chroma of the pixel is scaled down until all channels fit, which
    keeps both.
    """
    cb, cr = (chroma - 0.5).split(1, dim=-3)
    luma = luma.clamp(0, 1)
    red = (2 - 2 * _RED) * cr
    blue = (2 - 2 * _BLUE) * cb
    green = -(_RED * red + _BLUE * blue) / _GREEN
    offsets = torch.cat((red, green, blue), dim=-3)
    room = torch.where(offsets > 0, 1 - luma, luma)
    # 0 / 0 at an offset of 0 would be NaN; such a channel always fits.
    fits = torch.where(offsets.abs() > room, room / offsets.abs().clamp_min(1e-12), 1.0)
    scale = fits.amin(dim=-3, keepdim=True)
    return (luma + scale * offsets).clamp(0, 1)


def grey_u8(
    rgb: UInt8[np.ndarray, "h w 3"], how: Literal["opencv", "matlab"] = "opencv"
) -> UInt8[np.ndarray, "h w"]:
    """Return the 8-bit grey of an 8-bit RGB image, rounded exactly as OpenCV's conversion does.

    OpenCV computes (9798 R + 19235 G + 3735 B + 2^14) >> 15: BT.601 in fixed point. MATLAB's
    rgb2gray rounds 0.2989 R + 0.5870 G + 0.1140 B.
    """
    if how == "matlab":
        values = rgb.astype(np.float64) @ np.array([0.2989, 0.5870, 0.1140])
        return np.floor(values + 0.5).astype(np.uint8)
    weights = np.array([9798, 19235, 3735], dtype=np.int64)
    return ((rgb.astype(np.int64) @ weights + (1 << 14)) >> 15).astype(np.uint8)
