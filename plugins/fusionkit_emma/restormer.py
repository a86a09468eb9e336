"""The Restormer-CNN block of U-Fuser: global attention and local convolutions side by side."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


def run(module: nn.Module | None, x: Tensor) -> Tensor:
    """Call a module taken from ``_modules``, whose type allows None."""
    assert module is not None
    return module(x)


def conv3(inputs: int, outputs: int, step: int = 1, bias: bool = False) -> nn.Conv2d:
    """Return a 3x3 convolution with reflected borders.

    Example:
        >>> conv3(8, 16, step=2)(torch.zeros(1, 8, 32, 32)).shape
        torch.Size([1, 16, 16, 16])
    """
    return nn.Conv2d(inputs, outputs, 3, stride=step, padding=1, bias=bias, padding_mode="reflect")


class RestormerCNNBlock(nn.Module):
    """Embed the input, apply global attention and local convolutions in parallel, and merge them.

    Args:
        inputs: Input channels.
        outputs: Output channels, a multiple of ``heads``.
        heads: Attention heads of the global branch.
        branches: ``global``, ``local`` or both.

    Example:
        >>> block = RestormerCNNBlock(1, 8, heads=4, branches=("global", "local"))
        >>> block(torch.zeros(1, 1, 32, 32)).shape
        torch.Size([1, 8, 32, 32])
    """

    def __init__(self, inputs: int, outputs: int, heads: int, branches: Sequence[str]):
        super().__init__()
        self.branches = tuple(sorted(set(branches)))
        self.embed = conv3(inputs, outputs)
        if "global" in branches:
            self.GlobalFeature = _Global(outputs, heads)
        if "local" in branches:
            self.LocalFeature = _Local(outputs)
        self.FFN = conv3(len(self.branches) * outputs, outputs)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        """Map c input channels to d output channels."""
        x = self.embed(x)
        features = [run(part, x) for key, part in self._modules.items() if key.endswith("Feature")]
        return self.FFN(torch.cat(features, dim=1))


class _Global(nn.Module):
    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.norm1 = _ChannelNorm(channels)
        self.attn = _TransposedAttention(channels, heads)
        self.norm2 = _ChannelNorm(channels)
        self.mlp = _GatedFeedForward(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class _ChannelNorm(nn.Module):
    """LayerNorm over the channels of each pixel; official state dicts call its weights ``body``."""

    def __init__(self, channels: int):
        super().__init__()
        self.body = nn.LayerNorm(channels, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        # F.layer_norm rounds differently from the official sequence of operations. Eight channels
        # of nearly equal values amplify that to visible differences.
        b, c, h, w = x.shape
        pixels = x.flatten(2).transpose(1, 2)
        mean = pixels.mean(-1, keepdim=True)
        variance = pixels.var(-1, keepdim=True, unbiased=False)
        pixels = (pixels - mean) / torch.sqrt(variance + self.body.eps) * self.body.weight
        return (pixels + self.body.bias).transpose(1, 2).reshape(b, c, h, w)


class _TransposedAttention(nn.Module):
    """Attention between channels (Restormer, CVPR 2022): q k^T is (c/heads)^2, not (h w)^2."""

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.heads = heads
        self.scale = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv1 = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.qkv2 = nn.Conv2d(3 * channels, 3 * channels, 3, padding=1, bias=False)
        self.proj = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        q, k, v = self.qkv2(self.qkv1(x)).reshape(b, 3, self.heads, -1, h * w).unbind(1)
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        weights = (q @ k.transpose(-2, -1) * self.scale).softmax(dim=-1)
        return self.proj((weights @ v).reshape(b, c, h, w))


class _GatedFeedForward(nn.Module):
    """Feed-forward layer of grouped convolutions; half of the channels gate the others by GELU."""

    def __init__(self, channels: int):
        super().__init__()
        self.project_in = nn.Conv2d(channels, 2 * channels, 1, bias=False)
        # Two channels per group: the official layer has groups=channels, not 2*channels.
        self.dwconv = nn.Conv2d(
            2 * channels,
            2 * channels,
            3,
            padding=1,
            groups=channels,
            bias=False,
            padding_mode="reflect",
        )
        self.project_out = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, x = self.dwconv(self.project_in(x)).chunk(2, dim=1)
        return self.project_out(F.gelu(gate) * x)


class _Local(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.Extraction = nn.Sequential(Residual(channels), Residual(channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.Extraction(x)


class Residual(nn.Module):
    """x + conv(ReLU(conv(x)))."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Sequential(
            conv3(channels, channels, bias=True), nn.ReLU(), conv3(channels, channels, bias=True)
        )

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Add the convolved input to the input."""
        return x + self.conv(x)
