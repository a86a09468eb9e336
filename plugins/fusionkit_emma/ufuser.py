"""U-Fuser: one Restormer-CNN encoder per modality, a fusion block per scale, one decoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from fusionkit.errors import FusionkitError
from fusionkit.interfaces import Backbone, Images, Modalities

Channels = Annotated[tuple[int, ...], Field(min_length=2, max_length=6)]
Branches = Annotated[tuple[str, ...], Field(min_length=1, max_length=2)]


class UFuser(Backbone):
    """The fusion network of EMMA (CVPR 2024, section 3.3).

    Its state dict has the names and shapes of the official one when built with the defaults for
    two modalities: the first is the official ``I`` (infrared), the second ``V`` (visible). Each
    further modality gets an encoder of its own and widens the fusion blocks.

    Args:
        modalities: Names of the sources, in the order of the encoders.
        channels: Channels per scale, finest first; each a multiple of ``heads``.
        heads: Attention heads of the global branches. With one channel per head, as officially
            at the finest scale, attention is the identity on its values.
        branches: ``global`` (transposed attention), ``local`` (residual convolutions) or both.
            With one alone the block has the same width, so that an ablation removes it cleanly.
        start: Initial weights: ``random`` is PyTorch's default, as officially; ``average`` starts
            out as a fuser that averages, which saves short schedules from learning to copy pixels.
    """

    name = "ufuser"

    def __init__(
        self,
        modalities: Modalities = ("infrared", "visible"),
        channels: Channels = (8, 16, 32, 32),
        heads: Annotated[int, Field(ge=1)] = 8,
        branches: Branches = ("global", "local"),
        start: Literal["random", "average"] = "random",
    ):
        super().__init__()
        if len(modalities) < 2 or len(set(modalities)) < len(modalities):
            raise FusionkitError(
                f"ufuser fuses two or more different modalities, found {list(modalities)}"
            )
        if wrong := [c for c in channels if c < 1 or c % heads]:
            raise FusionkitError(
                f"ufuser: each of channels must be a multiple of heads={heads}, "
                f"found {wrong[0]} in {list(channels)}"
            )
        if unknown := set(branches) - {"global", "local"}:
            raise FusionkitError(
                f"ufuser: branches are 'global' and 'local', found {sorted(unknown)[0]!r}"
            )
        self.modalities = tuple(modalities)
        self.stride = 2 ** (len(channels) - 1)
        scales = range(1, len(channels) + 1)
        self.scales = len(channels)

        def block(inputs: int, outputs: int) -> RestormerCNNBlock:
            return RestormerCNNBlock(inputs, outputs, heads, branches)

        for letter in self._letters():
            inputs = 1
            for scale, outputs in zip(scales, channels, strict=True):
                self.add_module(f"{letter}_en_{scale}", block(inputs, outputs))
                inputs = outputs
                if scale < self.scales:
                    self.add_module(f"{letter}_down{scale}", _conv3(outputs, outputs, step=2))
        sources = len(self.modalities)
        for scale, width in zip(scales, channels, strict=True):
            self.add_module(f"f_{scale}", block(sources * width, width))
            skip = 1 if scale == self.scales else 2
            self.add_module(f"de_{scale}", block(skip * width, width))
            if scale > 1:
                finer = channels[scale - 2]
                up = nn.ConvTranspose2d(width, finer, 4, stride=2, padding=1, bias=False)
                self.add_module(f"up{scale}", nn.Sequential(up, nn.ReLU()))
        self.last = nn.Sequential(_conv3(channels[0], 1, bias=True), nn.Sigmoid())
        if start == "average":
            with torch.no_grad():
                self._start_as_average()

    def _start_as_average(self) -> None:
        """Add to smaller random weights what lets the sources through to the output.

        Residual branches end in zeros, so a block is its embedding and its merging layer; both
        hand channel k on to channel k; the fusion blocks average the sources; the decoder hands on
        what its skip brings; and the output's sigmoid is steep enough to be nearly linear.
        """
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d) and name.endswith(("attn.proj", "mlp.project_out")):
                module.weight.zero_()
            if isinstance(module, _Residual):
                last = module.conv[2]
                assert isinstance(last, nn.Conv2d)
                last.weight.zero_()
                if last.bias is not None:
                    last.bias.zero_()
        for name, block in self.named_children():
            if isinstance(block, RestormerCNNBlock):
                width = block.embed.out_channels
                parts = block.embed.in_channels // width
                if name.startswith("de_") and parts == 2:
                    _hand_on(block.embed, [0.0, 1.0])  # from the skip, not from below
                else:
                    _hand_on(block.embed, [1 / max(1, parts)] * max(1, parts))
                branches = block.FFN.in_channels // width
                _hand_on(block.FFN, [1 / branches] * branches)
        out = self.last[0]
        assert isinstance(out, nn.Conv2d)
        assert out.bias is not None
        out.weight.mul_(0.1)
        # sigmoid(4.6 (x - 1/2)) runs from 0.09 to 0.91 and is straight in between.
        out.weight[0, 0, 1, 1] += 4.6
        out.bias.fill_(-2.3)

    def _letters(self) -> list[str]:
        """Prefix of each modality's encoder; the official letters for the first two."""
        return ["I", "V", *(f"S{k}" for k in range(3, len(self.modalities) + 1))][
            : len(self.modalities)
        ]

    def forward(self, sources: Images) -> Float[Tensor, "b 1 h w"]:
        """Fuse a batch; h and w must be multiples of ``stride`` (8 with four scales).

        Raises:
            FusionkitError: if a modality that the network was built for is missing.
        """
        if missing := [name for name in self.modalities if name not in sources]:
            raise FusionkitError(
                f"ufuser was built for {', '.join(self.modalities)}; "
                f"missing {', '.join(missing)} among the sources {', '.join(sources)}"
            )
        parts = self._modules
        per_scale: list[list[Tensor]] = [[] for _ in range(self.scales)]
        for letter, modality in zip(self._letters(), self.modalities, strict=True):
            x = sources[modality]
            for scale in range(1, self.scales + 1):
                x = _run(parts[f"{letter}_en_{scale}"], x)
                per_scale[scale - 1].append(x)
                if scale < self.scales:
                    x = _run(parts[f"{letter}_down{scale}"], x)
        # The official code concatenates infrared before visible.
        mixed = [
            _run(parts[f"f_{scale}"], torch.cat(features, dim=1))
            for scale, features in enumerate(per_scale, start=1)
        ]
        x = _run(parts[f"de_{self.scales}"], mixed[-1])
        for scale in range(self.scales - 1, 0, -1):
            x = _run(parts[f"up{scale + 1}"], x)
            x = _run(parts[f"de_{scale}"], torch.cat((x, mixed[scale - 1]), dim=1))
        return self.last(x)


def _run(module: nn.Module | None, x: Tensor) -> Tensor:
    assert module is not None
    return module(x)


def _conv3(inputs: int, outputs: int, step: int = 1, bias: bool = False) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=step, padding=1, bias=bias, padding_mode="reflect")


def _hand_on(conv: nn.Conv2d, shares: Sequence[float]) -> None:
    """Halve the weights and let channel k of each part of the input through to channel k."""
    conv.weight.mul_(0.5)
    width = conv.out_channels
    for part, share in enumerate(shares):
        for k in range(min(width, conv.in_channels - part * width)):
            conv.weight[k, part * width + k, 1, 1] += share


class RestormerCNNBlock(nn.Module):
    """Embed, then global attention and local convolutions side by side, then merge."""

    def __init__(self, inputs: int, outputs: int, heads: int, branches: Sequence[str]):
        super().__init__()
        self.embed = _conv3(inputs, outputs)
        if "global" in branches:
            self.GlobalFeature = _Global(outputs, heads)
        if "local" in branches:
            self.LocalFeature = _Local(outputs)
        self.FFN = _conv3(len(set(branches)) * outputs, outputs)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        """Map c input channels to d output channels."""
        x = self.embed(x)
        features = [_run(part, x) for key, part in self._modules.items() if key.endswith("Feature")]
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
    """LayerNorm over the channels of each pixel; ``body`` is its name in official state dicts."""

    def __init__(self, channels: int):
        super().__init__()
        self.body = nn.LayerNorm(channels, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        # Not F.layer_norm: its rounding differs from the official sequence of operations, and
        # eight channels of nearly equal values amplify that to visible differences.
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
    """Depthwise convolutions in pairs, the first half gating the second through GELU."""

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
        self.Extraction = nn.Sequential(_Residual(channels), _Residual(channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.Extraction(x)


class _Residual(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Sequential(
            _conv3(channels, channels, bias=True), nn.ReLU(), _conv3(channels, channels, bias=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x)
