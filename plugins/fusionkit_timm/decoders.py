"""Decoders: from feature maps of several sizes to one map of full resolution."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class UNetDecoder(nn.Module):
    """Decoder of U-Net: upsamples level by level, with skip connections (Ronneberger et al., 2015).

    Args:
        channels: Channels of each map, finest first.
        width: Channels at full resolution; they double with each level, at most three times.

    Example:
        >>> maps = [torch.rand(1, 8, 32, 32), torch.rand(1, 16, 16, 16)]
        >>> tuple(UNetDecoder([8, 16], width=8)(maps).shape)
        (1, 8, 32, 32)
    """

    def __init__(self, channels: Sequence[int], width: int):
        super().__init__()
        widths = [width * 2 ** min(level, 3) for level in range(len(channels))]
        above = [*widths[1:], 0]
        self.blocks = nn.ModuleList(
            _Block(c + up, w) for c, up, w in zip(channels, above, widths, strict=True)
        )

    def forward(self, maps: Sequence[Tensor]) -> Float[Tensor, "b width h w"]:
        """Decode feature maps (b, c, h, w), finest first, to the size of the first one."""
        x = self.blocks[-1](maps[-1])
        for block, skip in zip(reversed(self.blocks[:-1]), reversed(maps[:-1]), strict=True):
            x = block(torch.cat((_resize(x, skip), skip), dim=1))
        return x


class FPNDecoder(nn.Module):
    """Feature pyramid network (Lin et al., CVPR 2017).

    Adds the levels from the coarsest to the finest and smooths each sum. Then upsamples all levels
    to full resolution and adds them (Kirillov et al., Panoptic FPN, CVPR 2019).

    Args:
        channels: Channels of each map, finest first.
        width: Channels of each level of the pyramid.
    """

    def __init__(self, channels: Sequence[int], width: int):
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(c, width, 1) for c in channels)
        self.smooth = nn.ModuleList(_layer(width, width) for _ in channels)

    def forward(self, maps: Sequence[Tensor]) -> Float[Tensor, "b width h w"]:
        """Decode feature maps (b, c, h, w), finest first, to the size of the first one."""
        levels = [lateral(x) for lateral, x in zip(self.laterals, maps, strict=True)]
        for k in reversed(range(len(levels) - 1)):
            levels[k] = levels[k] + _resize(levels[k + 1], levels[k])
        return _sum([smooth(x) for smooth, x in zip(self.smooth, levels, strict=True)])


class SumDecoder(nn.Module):
    """Sum of one 1 x 1 convolution per level, upsampled to full resolution; has few weights.

    Args:
        channels: Channels of each map, finest first.
        width: Channels of the sum.
    """

    def __init__(self, channels: Sequence[int], width: int):
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(c, width, 1) for c in channels)
        self.norm = _norm(width)

    def forward(self, maps: Sequence[Tensor]) -> Float[Tensor, "b width h w"]:
        """Decode feature maps (b, c, h, w), finest first, to the size of the first one."""
        levels = [lateral(x) for lateral, x in zip(self.laterals, maps, strict=True)]
        return F.gelu(self.norm(_sum(levels)))


DECODERS = {"unet": UNetDecoder, "fpn": FPNDecoder, "sum": SumDecoder}
"""Decoders by their names in the configuration."""


class _Block(nn.Sequential):
    def __init__(self, inputs: int, outputs: int):
        super().__init__(_layer(inputs, outputs), _layer(outputs, outputs))


def _layer(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), _norm(outputs), nn.GELU())


def _norm(channels: int) -> nn.GroupNorm:
    # Not batch normalization, because batches may have a single pair.
    return nn.GroupNorm(math.gcd(8, channels), channels)


def _resize(x: Tensor, like: Tensor) -> Tensor:
    size = like.shape[-2:]
    return x if x.shape[-2:] == size else F.interpolate(x, size, mode="bilinear")


def _sum(levels: Sequence[Tensor]) -> Tensor:
    total = levels[0]
    for level in levels[1:]:
        total = total + _resize(level, levels[0])
    return total
