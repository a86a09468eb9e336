"""U-Fuser for inference: the results of ``ufuser.py``, faster and in less memory.

What makes it faster, all of it exact up to rounding:

- With one channel per head, the softmax runs over a single number, so attention is the identity.
- Convolutions without anything between them are one convolution: q, k, v and the projections.
- Otherwise attention is a c x c matrix. It follows from sums over the pixels, and becomes part of
  the convolution that gives the values.
- The channels of a block are rotated so that the first is their mean. Layer normalisation then
  needs no mean, and its scale and shift become part of the next convolution. The rotation itself
  is part of the weights.
- Maps keep a border of one pixel. A convolution computes garbage there, and the reflection is
  written over it: no padded copies.
- Work goes over strips of rows that stay in the CPU cache. Only the results of whole blocks are
  stored for the whole image.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from fusionkit.interfaces import Backbone, Images, ordered_sources
from fusionkit_emma.kernels import (
    grouped_kernel,
    matrix_after,
    matrix_before,
    own_kernel,
    rotation_to_mean,
    ungrouped,
)
from fusionkit_emma.restormer import RestormerCNNBlock
from fusionkit_emma.strips import (
    Strip,
    bordered,
    new_map,
    reflect_,
    reflect_rows_,
    size_of,
    strips_of,
)

EPS = 1e-5
"""Added to variances by the normalisation."""

GROUP = 8
"""Channels per group where that many make a convolution in groups faster than a full one."""


class UFuserInference(Backbone):
    """U-Fuser that only infers; ``UFuser.inference_form`` makes it.

    Args:
        plain: The network whose weights it takes; they are copied.
        scales: Number of scales of the network.
        letters: What the names of the weights of each source begin with.
    """

    name = "ufuser"

    def __init__(self, plain: Backbone, scales: int, letters: Sequence[str]):
        super().__init__()
        self.modalities, self.stride = plain.modalities, plain.stride
        self.scales, self.letters = scales, letters
        self.blocks = nn.ModuleDict(
            {
                name: _Block(part)
                for name, part in plain.named_children()
                if isinstance(part, RestormerCNNBlock)
            }
        )
        weights = plain.state_dict()
        for scale in range(1, self.scales):
            for letter in self.letters:
                name = f"{letter}_down{scale}"
                self.register_buffer(name, own_kernel(weights[f"{name}.weight"]))
            self.register_buffer(f"up{scale + 1}", weights[f"up{scale + 1}.0.weight"].clone())
        self.register_buffer("last", own_kernel(weights["last.0.weight"]))
        self.register_buffer("last_bias", weights["last.0.bias"].clone())

    def forward(self, sources: Images) -> Float[Tensor, "b 1 h w"]:
        """Fuse a batch; see ``UFuser.forward``. Gradients are not computed."""
        images = ordered_sources(self, sources)
        with torch.no_grad():
            if len(images[0]) > 1 and len(strips_of(images[0].shape, 8, images[0])) > 1:
                # Strips of one image are contiguous, those of a batch are not.
                singly = zip(*(image.split(1) for image in images), strict=True)
                return torch.cat([self._fuse(one, False) for one in singly])
            return self._fuse(images, False)

    def with_statistics_of(self, sources: Images) -> UFuserInference:
        """Return a copy whose attention is that of the given images, whatever it fuses.

        Without it, attention sees the whole image, so that tiles would not fit together. With one
        channel per head it does not depend on the image, and nothing is copied.

        Args:
            sources: One image, or a batch of equally large parts of it, which are pooled.
        """
        parts = [part for part in self.modules() if isinstance(part, _Global)]
        if not any(part.depends_on_the_image(fix=True) for part in parts):
            return self
        fixed = copy.deepcopy(self)
        with torch.no_grad():
            fixed._fuse(ordered_sources(self, sources), True)
        return fixed

    def _fuse(self, images: Sequence[Tensor], fix: bool) -> Tensor:
        """Fuse; with ``fix``, keep the attention of this batch for all that come later."""
        part = self.blocks
        maps = [bordered(image) for image in images]
        mixed = []
        for scale in range(1, self.scales + 1):
            maps = [
                part[f"{letter}_en_{scale}"]([x], fix)
                for letter, x in zip(self.letters, maps, strict=True)
            ]
            mixed.append(part[f"f_{scale}"](maps, fix))
            if scale < self.scales:
                maps = [
                    _down(x, self.get_buffer(f"{letter}_down{scale}"))
                    for letter, x in zip(self.letters, maps, strict=True)
                ]
        del maps
        x = part[f"de_{self.scales}"]([mixed.pop()], fix)
        for scale in range(self.scales - 1, 1, -1):
            x = _up(x, self.get_buffer(f"up{scale + 1}"))
            x = part[f"de_{scale}"]([x, mixed.pop()], fix)
        x = _up(x, self.get_buffer("up2"))
        x = part["de_1"]([x, mixed.pop()], fix)
        return _last(x, self.get_buffer("last"), self.get_buffer("last_bias"))


def _down(x: Tensor, weight: Tensor) -> Tensor:
    """Halve a map by a convolution of stride 2."""
    h, w = (side // 2 for side in size_of(x))
    out = new_map(x, weight.shape[0], (h, w))
    for strip in strips_of((h, w), 4 * weight.shape[1], x):
        rows = x[:, :, 2 * strip.start : 2 * strip.stop + 1]
        # The last column of the border is that of an odd pixel, which the stride leaves out.
        out[:, :, strip.start + 1 : strip.stop + 1, 1:-1] = F.conv2d(
            rows[..., :-1].contiguous(memory_format=torch.channels_last), weight, stride=2
        )
    return reflect_(out)


def _up(x: Tensor, weight: Tensor) -> Tensor:
    """Double a map by a transposed convolution of size 4 and stride 2, and ReLU."""
    h, w = size_of(x)
    out = new_map(x, weight.shape[1], (2 * h, 2 * w))
    for strip in strips_of((h, w), 4 * weight.shape[1], x):
        low, high = max(strip.start - 1, 0), min(strip.stop + 1, h)
        rows = x[:, :, low + 1 : high + 1, 1:-1].contiguous(memory_format=torch.channels_last)
        doubled = F.conv_transpose2d(rows, weight, stride=2, padding=1).relu_()
        first = 2 * (strip.start - low)
        out[:, :, 2 * strip.start + 1 : 2 * strip.stop + 1, 1:-1] = doubled[
            :, :, first : first + 2 * (strip.stop - strip.start)
        ]
    return reflect_(out)


def _last(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Map to one channel in [0, 1]."""
    out = x.new_empty(x.shape[0], 1, *size_of(x))
    for strip in strips_of(out.shape, x.shape[1], x):
        rows = x[:, :, strip.start : strip.stop + 2]
        fused = F.conv2d(rows, weight, bias)
        torch.sigmoid(fused, out=out[:, :, strip.start : strip.stop])
    return out


class _Block(nn.Module):
    """A RestormerCNNBlock whose inner channels are rotated.

    Args:
        plain: The block whose weights it takes.
    """

    def __init__(self, plain: RestormerCNNBlock):
        super().__init__()
        weights = {name: x.detach().double() for name, x in plain.state_dict().items()}
        rotation = rotation_to_mean(plain.FFN.out_channels).to(plain.FFN.weight.device)
        self.attention = self.local = None
        if "global" in plain.branches:
            self.attention = _Global(_below("GlobalFeature", weights), rotation)
        if "local" in plain.branches:
            self.local = _Local(_below("LocalFeature", weights), rotation)
        _keep(self, "embed", matrix_after(rotation, weights["embed.weight"]))
        kernels = weights["FFN.weight"].chunk(len(plain.branches), dim=1)
        for branch, kernel in zip(plain.branches, kernels, strict=True):
            _keep(self, f"merge_{branch}", matrix_before(kernel, rotation.T))
        self.to(plain.FFN.weight.dtype)

    def forward(self, maps: Sequence[Tensor], fix: bool) -> Tensor:
        """Return a map of the block's output.

        Args:
            maps: The input; the channels of one map follow those of the map before it.
            fix: Keep the attention of this batch for all that come later.
        """
        size, channels = size_of(maps[0]), self.get_buffer("embed").shape[0]
        strips = strips_of(size, channels, maps[0])
        embedded, kernel = None, None
        if self.attention is not None:
            kernel = self.attention.fixed
            if self.attention.depends_on_the_image(fix):
                embedded, sums = self._embed_all(maps, strips)
                kernel = self.attention.attend(sums, fix)
        if len(strips) == 1:
            x = self._embed(strips[0], maps) if embedded is None else embedded
            return self._finish(strips[0], x, kernel)
        out = new_map(maps[0], channels, size)
        for strip in strips:
            x = self._embed(strip, maps) if embedded is None else strip.read(embedded)
            rows = strip.result(self._finish(strip, x, kernel))
            out[:, :, strip.start + 1 : strip.stop + 1] = rows
        return reflect_rows_(out)

    def _embed_all(self, maps: Sequence[Tensor], strips: list[Strip]) -> tuple[Tensor, Tensor]:
        """Return the embedded map, and the sums over its pixels that attention needs."""
        assert self.attention is not None
        if len(strips) == 1:
            x = self._embed(strips[0], maps)
            return x, self.attention.sums(strips[0], x)
        embedded = new_map(maps[0], self.get_buffer("embed").shape[0], size_of(maps[0]))
        sums = []
        for strip in strips:
            x = self._embed(strip, maps)
            embedded[:, :, strip.start + 1 : strip.stop + 1] = strip.result(x)
            sums.append(self.attention.sums(strip, x))
        return reflect_rows_(embedded), torch.stack(sums).sum(dim=0)

    def _embed(self, strip: Strip, maps: Sequence[Tensor]) -> Tensor:
        first, total = 0, None
        for x in maps:
            kernel = self.get_buffer("embed")[:, first : first + x.shape[1]]
            kernel = kernel.contiguous(memory_format=torch.channels_last)
            embedded = strip.convolve(strip.read(x), kernel)
            total = embedded if total is None else total.add_(embedded)
            first += x.shape[1]
        assert total is not None
        return strip.reflect_(total)

    def _finish(self, strip: Strip, x: Tensor, kernel: Tensor | None) -> Tensor:
        total = None
        if self.local is not None:
            total = strip.convolve(self.local(strip, x), self.get_buffer("merge_local"))
        if self.attention is not None and kernel is not None:
            features = self.attention(strip, x, kernel)
            if total is not None:  # the local branch has lost two rows more
                features = strip.inner(features, 2)
            merged = strip.convolve(features, self.get_buffer("merge_global"))
            total = merged if total is None else total.add_(merged)
        assert total is not None
        return strip.reflect_(total)


class _Global(nn.Module):
    """The global branch: attention between channels, then the gated feed-forward layer."""

    def __init__(self, weights: dict[str, Tensor], rotation: Tensor):
        super().__init__()
        channels = len(rotation)
        self.heads = len(weights["attn.scale"])
        qkv = matrix_before(weights["attn.qkv2.weight"], weights["attn.qkv1.weight"][..., 0, 0])
        scale, shift = weights["norm1.body.weight"], weights["norm1.body.bias"]
        qkv, shifted = (
            matrix_before(qkv, scale[:, None] * rotation.T),
            matrix_before(qkv, shift[:, None]),
        )
        qkv[:, :1] = shifted  # the mean, which normalisation removes, makes room for a one
        project = rotation @ weights["attn.proj.weight"][..., 0, 0]
        one_channel = self.heads == channels
        self.one_channel = one_channel
        for name, kernel in zip(("queries", "keys", "values"), qkv.chunk(3), strict=True):
            _keep(self, name, kernel)
        _keep(self, "project", project)
        _keep(self, "scale", weights["attn.scale"])
        self.fixed: Tensor | None
        self.register_buffer("fixed", None)
        if one_channel:
            self.fixed = own_kernel(matrix_after(project, qkv[2 * channels :]))

        shift = weights["norm2.body.bias"]
        scale = weights["norm2.body.weight"][:, None] * rotation.T
        scale[:, 0] = 0
        inwards = weights["mlp.project_in.weight"][..., 0, 0]
        pairs = ungrouped(weights["mlp.dwconv.weight"])
        self.groups = channels // GROUP if channels % GROUP == 0 else 1
        for name, own in (("gate", slice(channels)), ("gated", slice(channels, None))):
            if self.groups > 1:
                _keep(self, f"{name}_in", (inwards[own] @ scale)[..., None, None])
                _keep(self, f"{name}_bias", inwards[own] @ shift)
                _keep(self, name, grouped_kernel(pairs[own, own], self.groups))
            else:
                _keep(self, name, matrix_before(pairs[own], inwards @ scale))
                # Reflected borders see the shift as all pixels do, so it becomes a bias.
                _keep(self, f"{name}_bias", pairs[own].sum(dim=(2, 3)) @ inwards @ shift)
        _keep(self, "project_out", matrix_after(rotation, weights["mlp.project_out.weight"]))

        squares = torch.full_like(rotation, 1 / channels)
        squares[:, 0] = 0
        _keep(self, "variance", squares[..., None, None])
        _keep(self, "eps", torch.full_like(rotation[0], EPS))

    def depends_on_the_image(self, fix: bool) -> bool:
        """Return whether sums over the image are needed."""
        return not self.one_channel and (fix or self.fixed is None)

    def sums(self, strip: Strip, x: Tensor) -> Float[Tensor, "b c c+2"]:
        """Return sums over the strip's pixels: queries times keys, and the squares of both."""
        normed = self._first_norm(strip, x)
        flat = []
        for name in ("queries", "keys"):
            pixels = strip.result(strip.convolve(normed, self.get_buffer(name)))
            pixels[..., 0] = 0
            pixels[..., -1] = 0
            pixels = pixels.permute(0, 2, 3, 1).flatten(1, 2)
            flat.append(pixels if pixels.dtype == torch.float64 else pixels.float())
        q, k = flat
        return torch.cat((q.mT @ k, *((p * p).sum(dim=1)[:, :, None] for p in flat)), dim=2)

    def attend(self, sums: Float[Tensor, "b c c+2"], fix: bool) -> Tensor:
        """Return attention and values as one kernel (c, c, 3, 3), or a matrix for each image.

        Args:
            sums: What ``sums`` gave, summed over all strips.
            fix: Pool the batch, and keep the kernel for all images that come later.
        """
        if fix:
            sums = sums.sum(dim=0, keepdim=True)
        project, values = self.get_buffer("project"), self.get_buffer("values")
        products, lengths = sums[..., :-2], sums[..., -2:].sqrt().clamp_min(1e-12)
        cosines = products / lengths[..., :1] / lengths[..., 1:].mT
        # The blocks on the diagonal: a head attends to its own channels.
        blocks = cosines.unflatten(1, (self.heads, -1)).unflatten(3, (self.heads, -1))
        blocks = blocks.diagonal(dim1=1, dim2=3).permute(0, 3, 1, 2)
        weights = (blocks * self.get_buffer("scale").to(blocks.dtype)).softmax(dim=-1)
        matrices = torch.stack(
            [project.to(weights.dtype) @ torch.block_diag(*image) for image in weights]
        )
        if len(matrices) > 1:
            return matrices.to(values.dtype)
        kernel = own_kernel(matrix_after(matrices[0], values.to(weights.dtype)).to(values.dtype))
        if fix:
            self.fixed = kernel
        return kernel

    def forward(self, strip: Strip, x: Tensor, kernel: Tensor) -> Tensor:
        """Apply the branch.

        Args:
            strip: What ``x`` belongs to.
            x: The embedded rows.
            kernel: What ``attend`` gave.
        """
        normed = self._first_norm(strip, x)
        if kernel.ndim == 4:
            y = strip.convolve(normed, kernel)
        else:
            values = strip.convolve(normed, self.get_buffer("values")).permute(0, 2, 3, 1)
            y = (values.flatten(1, 2) @ kernel.mT).unflatten(1, values.shape[1:3])
            y = y.permute(0, 3, 1, 2)
        y = strip.reflect_(y.add_(strip.inner(x, 1)))
        normed = self._norm(y)
        gate = F.gelu(self._feed("gate", strip, normed))
        gated = gate.mul_(self._feed("gated", strip, normed))
        out = _mix(gated, self.get_buffer("project_out"))
        return strip.reflect_(out.add_(strip.inner(y, 1)))

    def _feed(self, name: str, strip: Strip, x: Tensor) -> Tensor:
        """Apply the first layers of the feed-forward part that give ``gate`` or ``gated``."""
        kernel, bias = self.get_buffer(name), self.get_buffer(f"{name}_bias")
        if self.groups == 1:
            return strip.convolve(x, kernel, bias)
        x = _mix(x, self.get_buffer(f"{name}_in"), bias)
        return strip.inner(F.conv2d(x, kernel, padding=1, groups=self.groups), 1)

    def _norm(self, x: Tensor) -> Tensor:
        """Divide by the standard deviation of the channels; the first, their mean, is ignored."""
        variance = _mix(x * x, self.get_buffer("variance"), self.get_buffer("eps"))
        return variance.rsqrt_().mul_(x)

    def _first_norm(self, strip: Strip, x: Tensor) -> Tensor:
        """Return the input of attention: ones in the first channel, zeros around the image."""
        normed = self._norm(x)
        normed[:, 0] = 1
        return strip.clear_(normed)


class _Local(nn.Module):
    """The local branch: two residual units."""

    def __init__(self, weights: dict[str, Tensor], rotation: Tensor):
        super().__init__()
        for unit in range(2):
            first, second = (f"Extraction.{unit}.conv.{place}" for place in (0, 2))
            _keep(self, f"first{unit}", matrix_before(weights[f"{first}.weight"], rotation.T))
            _keep(self, f"first{unit}_bias", weights[f"{first}.bias"])
            _keep(self, f"second{unit}", matrix_after(rotation, weights[f"{second}.weight"]))
            _keep(self, f"second{unit}_bias", rotation @ weights[f"{second}.bias"])

    def forward(self, strip: Strip, x: Tensor) -> Tensor:
        """Apply the branch to embedded rows."""
        for unit in range(2):
            (first, bias), (second, second_bias) = (
                (self.get_buffer(f"{name}{unit}"), self.get_buffer(f"{name}{unit}_bias"))
                for name in ("first", "second")
            )
            inner = strip.reflect_(strip.convolve(x, first, bias).relu_())
            y = strip.convolve(inner, second, second_bias).add_(strip.inner(x, 2))
            x = strip.reflect_(y)
        return x


def _mix(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Apply a 1x1 convolution."""
    # On one thread PyTorch keeps 1x1 convolutions from oneDNN, which is six times as fast for eight
    # channels, unless they are dilated. For a single pixel dilation means nothing.
    return F.conv2d(x, weight, bias, dilation=2 if x.device.type == "cpu" else 1)


def _below(name: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a part by their names within it."""
    start = f"{name}."
    return {key.removeprefix(start): x for key, x in weights.items() if key.startswith(start)}


def _keep(module: nn.Module, name: str, tensor: Tensor) -> None:
    module.register_buffer(name, own_kernel(tensor) if tensor.ndim == 4 else tensor.clone())
