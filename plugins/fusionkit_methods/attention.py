"""Attention between channels (Restormer) and within windows of pixels (Swin)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class ChannelNorm(nn.Module):
    """Layer normalization over the channels of each pixel."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Normalize each pixel."""
        return self.norm(x.movedim(1, -1)).movedim(-1, 1).contiguous()


class ChannelBlock(nn.Module):
    """Attention between channels, and a feed-forward layer (Zamir et al., Restormer, CVPR 2022).

    Its cost is linear in the number of pixels.

    Args:
        channels: Channels of input and output, a multiple of ``heads``.
        heads: Number of attention heads.
    """

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.heads = heads
        self.first, self.second = ChannelNorm(channels), ChannelNorm(channels)
        self.mix = nn.Sequential(
            nn.Conv2d(channels, 3 * channels, 1),
            nn.Conv2d(3 * channels, 3 * channels, 3, padding=1, groups=3 * channels),
        )
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.out = nn.Conv2d(channels, channels, 1)
        self.feed = nn.Sequential(
            nn.Conv2d(channels, 2 * channels, 1), nn.GELU(), nn.Conv2d(2 * channels, channels, 1)
        )

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Apply attention and the feed-forward layer, each with a residual connection."""
        h, w = x.shape[-2:]
        parts = self.mix(self.first(x)).unflatten(1, (3, self.heads, -1)).flatten(-2)
        q, k, v = parts.unbind(dim=1)  # (b, heads, channels, pixels)
        scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT * self.temperature
        attended = (scores.softmax(dim=-1) @ v).flatten(1, 2).unflatten(-1, (h, w))
        x = x + self.out(attended)
        return x + self.feed(self.second(x))


class WindowBlock(nn.Module):
    """Attention within windows of pixels, and a feed-forward layer (Liu et al., Swin, ICCV 2021).

    Has no position biases. Pixels attend to the same feature map or to another one.

    Args:
        channels: Channels of input and output, a multiple of ``heads``.
        heads: Number of attention heads.
        window: Side of the windows in pixels; h and w must be multiples of it.
        shift: Whether the windows are shifted by half their side, circularly.
    """

    def __init__(self, channels: int, heads: int, window: int, shift: bool):
        super().__init__()
        self.window, self.move = window, window // 2 if shift else 0
        self.norm_q, self.norm_k = ChannelNorm(channels), ChannelNorm(channels)
        self.attention = nn.MultiheadAttention(channels, heads, batch_first=True)
        self.norm = ChannelNorm(channels)
        self.feed = nn.Sequential(
            nn.Conv2d(channels, 2 * channels, 1), nn.GELU(), nn.Conv2d(2 * channels, channels, 1)
        )

    def forward(
        self, x: Float[Tensor, "b c h w"], other: Float[Tensor, "b c h w"] | None = None
    ) -> Float[Tensor, "b c h w"]:
        """Let the pixels of ``x`` attend to those of ``other``, or of ``x`` if it is None."""
        queries = self._windows(self.norm_q(x))
        keys = self._windows(self.norm_k(x if other is None else other))
        attended, _ = self.attention(queries, keys, keys, need_weights=False)
        x = x + self._image(attended, x.shape)
        return x + self.feed(self.norm(x))

    def _windows(self, x: Tensor) -> Float[Tensor, "n pixels c"]:
        if self.move:
            x = x.roll((-self.move, -self.move), dims=(-2, -1))
        n = self.window
        x = x.unflatten(-2, (-1, n)).unflatten(-1, (-1, n))  # b c rows n columns n
        return x.permute(0, 2, 4, 3, 5, 1).flatten(3, 4).flatten(0, 2)

    def _image(self, x: Tensor, shape: torch.Size) -> Float[Tensor, "b c h w"]:
        b, c, h, w = shape
        n = self.window
        x = x.view(b, h // n, w // n, n, n, c).permute(0, 5, 1, 3, 2, 4).reshape(b, c, h, w)
        return x.roll((self.move, self.move), dims=(-2, -1)) if self.move else x
