"""From feature maps of several sizes to one map of full resolution: U-Net, FPN, or a mere sum."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class UNetDecoder(nn.Module):
    """Up from the coarsest map, one level after the other, each with its skip (U-Net, 2015).

    Args:
        channels: Of the maps, finest first.
        width: Channels of the finest level; they double per level, up to eight times as many.
    """

    def __init__(self, channels: Sequence[int], width: int):
        super().__init__()
        widths = [width * 2 ** min(level, 3) for level in range(len(channels))]
        above = [*widths[1:], 0]
        self.blocks = nn.ModuleList(
            _Block(c + up, w) for c, up, w in zip(channels, above, widths, strict=True)
        )

    def forward(self, maps: Sequence[Tensor]) -> Float[Tensor, "b width h w"]:
        """Decode maps (b, c, h, w), finest first, to the size of the finest."""
        x = self.blocks[-1](maps[-1])
        for block, skip in zip(reversed(self.blocks[:-1]), reversed(maps[:-1]), strict=True):
            x = block(torch.cat((_resized(x, skip), skip), dim=1))
        return x


class FPNDecoder(nn.Module):
    """A feature pyramid (Lin et al., 2017): sums from the coarsest down, each level smoothed.

    All levels then go to full resolution and are added, as in semantic FPN (Kirillov et al., 2019).

    Args:
        channels: Of the maps, finest first.
        width: Channels of every level of the pyramid.
    """

    def __init__(self, channels: Sequence[int], width: int):
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(c, width, 1) for c in channels)
        self.smooth = nn.ModuleList(_layer(width, width) for _ in channels)

    def forward(self, maps: Sequence[Tensor]) -> Float[Tensor, "b width h w"]:
        """Decode maps (b, c, h, w), finest first, to the size of the finest."""
        levels = [lateral(x) for lateral, x in zip(self.laterals, maps, strict=True)]
        for k in reversed(range(len(levels) - 1)):
            levels[k] = levels[k] + _resized(levels[k + 1], levels[k])
        return _added([smooth(x) for smooth, x in zip(self.smooth, levels, strict=True)])


class SumDecoder(nn.Module):
    """One 1x1 convolution per level, resized and added: nearly all the weights are the encoders'.

    Args:
        channels: Of the maps, finest first.
        width: Channels of the sum.
    """

    def __init__(self, channels: Sequence[int], width: int):
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(c, width, 1) for c in channels)
        self.norm = _norm(width)

    def forward(self, maps: Sequence[Tensor]) -> Float[Tensor, "b width h w"]:
        """Decode maps (b, c, h, w), finest first, to the size of the finest."""
        levels = [lateral(x) for lateral, x in zip(self.laterals, maps, strict=True)]
        return F.gelu(self.norm(_added(levels)))


DECODERS = {"unet": UNetDecoder, "fpn": FPNDecoder, "sum": SumDecoder}
"""By what the configuration calls them."""


class _Block(nn.Sequential):
    def __init__(self, inputs: int, outputs: int):
        super().__init__(_layer(inputs, outputs), _layer(outputs, outputs))


def _layer(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), _norm(outputs), nn.GELU())


def _norm(channels: int) -> nn.GroupNorm:
    # Not batch normalization: one pair at a time must be trainable.
    return nn.GroupNorm(math.gcd(8, channels), channels)


def _resized(x: Tensor, like: Tensor) -> Tensor:
    size = like.shape[-2:]
    return x if x.shape[-2:] == size else F.interpolate(x, size, mode="bilinear")


def _added(levels: Sequence[Tensor]) -> Tensor:
    total = levels[0]
    for level in levels[1:]:
        total = total + _resized(level, levels[0])
    return total
