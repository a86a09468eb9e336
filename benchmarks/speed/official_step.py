"""The training step of EMMA as its authors wrote it: what our step is compared and timed with.

A plain reading of the paper and the protocol, without any of our shortcuts. The networks have the
official state dicts. As in the official code, the sensors are frozen only by being left out of the
optimizer: their weights get gradients that nobody uses.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from kornia.filters import spatial_gradient
from kornia.geometry.transform import rotate
from torch import Tensor, nn
from torch.nn import functional as F

ANGLES = (10.0, 130.0, 250.0)
FLIPS = ((-1,), (-2,), (-2, -1))
ALPHA = 0.1


def loss(
    fuser: PlainUFuser,
    sensors: tuple[nn.Module, nn.Module],
    infrared: Tensor,
    visible: Tensor,
    shifts: Sequence[tuple[int, int]],
) -> Tensor:
    """Return the objective of one batch.

    Args:
        fuser: F.
        sensors: A_i and A_v, in eval mode.
        infrared: (b, 1, h, w), sides are multiples of 16.
        visible: As ``infrared``.
        shifts: Rows and columns of each circular shift.
    """
    sense_infrared, sense_visible = sensors
    fused = fuser(infrared, visible)
    stack = transformed(fused, shifts)
    again = fuser(sense_infrared(stack), sense_visible(stack))
    sensing = distance(sense_visible(fused), visible) + distance(sense_infrared(fused), infrared)
    return sensing + ALPHA * distance(stack, again)


def transformed(fused: Tensor, shifts: Sequence[tuple[int, int]]) -> Tensor:
    """Stack the image itself, its shifts, its rotations and its reflections along the batch."""
    images = [fused]
    images += [torch.roll(fused, shift, dims=(-2, -1)) for shift in shifts]
    images += [rotate(fused, torch.tensor([angle], dtype=fused.dtype)) for angle in ANGLES]
    images += [fused.flip(axes) for axes in FLIPS]
    return torch.cat(images)


def distance(a: Tensor, b: Tensor) -> Tensor:
    """Return mean |a - b| + mean |grad a - grad b|."""
    return F.l1_loss(a, b) + F.l1_loss(spatial_gradient(a), spatial_gradient(b))


def _conv3(inputs: int, outputs: int, step: int = 1, bias: bool = False) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, step, 1, bias=bias, padding_mode="reflect")


class _Norm(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.body = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        pixels = x.flatten(2).transpose(1, 2)
        mean = pixels.mean(-1, keepdim=True)
        variance = pixels.var(-1, keepdim=True, unbiased=False)
        pixels = (pixels - mean) / torch.sqrt(variance + self.body.eps)
        pixels = pixels * self.body.weight + self.body.bias
        return pixels.transpose(1, 2).reshape(x.shape)


class _Attention(nn.Module):
    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.heads = heads
        self.scale = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv1 = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.qkv2 = nn.Conv2d(3 * channels, 3 * channels, 3, padding=1, bias=False)
        self.proj = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            part.flatten(2).unflatten(1, (self.heads, -1))
            for part in self.qkv2(self.qkv1(x)).chunk(3, dim=1)
        )
        similarity = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT
        attended = (similarity * self.scale).softmax(-1) @ v
        return self.proj(attended.reshape(x.shape))


class _FeedForward(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        wide = 2 * channels
        self.project_in = nn.Conv2d(channels, wide, 1, bias=False)
        self.dwconv = nn.Conv2d(
            wide, wide, 3, padding=1, groups=channels, bias=False, padding_mode="reflect"
        )
        self.project_out = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, x = self.dwconv(self.project_in(x)).chunk(2, dim=1)
        return self.project_out(F.gelu(gate) * x)


class _Global(nn.Module):
    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.norm1, self.attn = _Norm(channels), _Attention(channels, heads)
        self.norm2, self.mlp = _Norm(channels), _FeedForward(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class _Residual(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Sequential(
            _conv3(channels, channels, bias=True), nn.ReLU(), _conv3(channels, channels, bias=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x)


class _Local(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.Extraction = nn.Sequential(_Residual(channels), _Residual(channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.Extraction(x)


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, heads: int):
        super().__init__()
        self.embed = _conv3(inputs, outputs)
        self.GlobalFeature = _Global(outputs, heads)
        self.LocalFeature = _Local(outputs)
        self.FFN = _conv3(2 * outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        return self.FFN(torch.cat((self.GlobalFeature(x), self.LocalFeature(x)), dim=1))


class PlainUFuser(nn.Module):
    """U-Fuser, layer by layer.

    Args:
        channels: Channels of each scale, finest first.
        heads: Attention heads.
    """

    def __init__(self, channels: Sequence[int] = (8, 16, 32, 32), heads: int = 8):
        super().__init__()
        self.scales = len(channels)
        parts: dict[str, nn.Module] = {}
        for letter in "IV":
            for scale, (inputs, width) in enumerate(zip((1, *channels), channels, strict=False), 1):
                parts[f"{letter}_en_{scale}"] = _Block(inputs, width, heads)
                if scale < self.scales:
                    parts[f"{letter}_down{scale}"] = _conv3(width, width, step=2)
        for scale, width in enumerate(channels, 1):
            parts[f"f_{scale}"] = _Block(2 * width, width, heads)
            parts[f"de_{scale}"] = _Block(width * (1 if scale == self.scales else 2), width, heads)
            if scale > 1:
                up = nn.ConvTranspose2d(width, channels[scale - 2], 4, 2, 1, bias=False)
                parts[f"up{scale}"] = nn.Sequential(up, nn.ReLU())
        parts["last"] = nn.Sequential(_conv3(channels[0], 1, bias=True), nn.Sigmoid())
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, infrared: Tensor, visible: Tensor) -> Tensor:
        """Fuse a batch of pairs, each (b, 1, h, w)."""
        part = self.get_submodule
        maps, mixed = [infrared, visible], []
        for scale in range(1, self.scales + 1):
            if scale > 1:
                maps = [part(f"{m}_down{scale - 1}")(x) for m, x in zip("IV", maps, strict=True)]
            maps = [part(f"{m}_en_{scale}")(x) for m, x in zip("IV", maps, strict=True)]
            mixed.append(part(f"f_{scale}")(torch.cat(maps, dim=1)))
        x = part(f"de_{self.scales}")(mixed[-1])
        for scale in range(self.scales - 1, 0, -1):
            x = part(f"up{scale + 1}")(x)
            x = part(f"de_{scale}")(torch.cat((x, mixed[scale - 1]), dim=1))
        return part("last")(x)
