"""U-Fuser for training: the results and gradients of ``ufuser.py`` in less time.

It has no weights of its own. What makes it faster, all of it exact up to rounding:

- With one channel per head, the softmax runs over a single number, so attention is the identity.
- Convolutions without anything between them are one convolution. Their product is computed in each
  step, from the weights that are trained.
- Attention multiplies the queries and keys of all heads at once, and becomes one matrix per image
  with the projection behind it.
- Channels are the last dimension in memory, which layer normalisation and matrices need anyway.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from fusionkit.interfaces import Backbone, Images, ordered_sources


class UFuserTraining(Backbone):
    """U-Fuser that trains; ``UFuser.training_form`` makes it.

    Args:
        plain: The network that is trained; it is kept, not copied.
    """

    name = "ufuser"

    def __init__(self, plain: Any):
        super().__init__()
        self.plain = plain
        self.modalities, self.stride = plain.modalities, plain.stride

    def forward(self, sources: Images) -> Float[Tensor, "b 1 h w"]:
        """Fuse a batch; see ``UFuser.forward``."""
        plain = self.plain
        part, scales, letters = plain.get_submodule, plain.scales, plain.letters
        maps = ordered_sources(plain, sources)
        mixed = []
        for scale in range(1, scales + 1):
            maps = [_block(part(f"{m}_en_{scale}"), x) for m, x in zip(letters, maps, strict=True)]
            mixed.append(_block(part(f"f_{scale}"), torch.cat(maps, dim=1)))
            if scale < scales:
                downs = [part(f"{letter}_down{scale}") for letter in letters]
                maps = [_reflected(down, x) for down, x in zip(downs, maps, strict=True)]
        x = _block(part(f"de_{scales}"), mixed.pop())
        for scale in range(scales, 1, -1):
            weight = part(f"up{scale}.0").weight
            x = F.conv_transpose2d(x, _last(weight), stride=2, padding=1).relu_()
            x = _block(part(f"de_{scale - 1}"), torch.cat((x, mixed.pop()), dim=1))
        return _reflected(part("last.0"), x).sigmoid()


def _last(x: Tensor) -> Tensor:
    """Return a tensor with the channels last in memory."""
    return x.contiguous(memory_format=torch.channels_last)


def _reflected(layer: Any, x: Tensor, weight: Tensor | None = None) -> Tensor:
    """Apply a convolution with reflected borders, with its own kernel or another."""
    x = F.pad(x, (1, 1, 1, 1), mode="reflect")
    kernel = _last(layer.weight if weight is None else weight)
    return F.conv2d(x, kernel, layer.bias, stride=layer.stride)


def _block(block: Any, x: Tensor) -> Tensor:
    """Apply a RestormerCNNBlock."""
    x = _last(_reflected(block.embed, x))
    features = []
    if "global" in block.branches:
        features.append(_global(block.GlobalFeature, x))
    if "local" in block.branches:
        y = x
        for residual in block.LocalFeature.Extraction:
            first, _, second = residual.conv
            y = y + _reflected(second, _reflected(first, y).relu_())
        features.append(y)
    return _reflected(block.FFN, torch.cat(features, dim=1))


def _global(branch: Any, x: Tensor) -> Tensor:
    """Apply attention between channels, then the gated feed-forward layer."""
    x = x + _attention(branch.attn, _norm(branch.norm1.body, x))
    return x + _feed_forward(branch.mlp, _norm(branch.norm2.body, x))


def _norm(body: nn.LayerNorm, x: Tensor) -> Tensor:
    return body(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _matrix(layer: Any) -> Tensor:
    """Return the matrix of a 1x1 convolution."""
    return layer.weight[..., 0, 0]


def _attention(attention: Any, x: Tensor) -> Tensor:
    b, channels, h, w = x.shape
    heads, project = attention.heads, _matrix(attention.proj)
    kernel, first = attention.qkv2.weight, _matrix(attention.qkv1)
    if heads == channels:
        # The softmax of one number is 1. So the gradients of queries, keys and scales are zeros.
        project = project * attention.scale.softmax(dim=-1).flatten()
        values = torch.einsum("ov,vmxy,mc->ocxy", project, kernel[2 * channels :], first)
        return F.conv2d(x, _last(values), padding=1)
    merged = torch.einsum("omxy,mc->ocxy", kernel, first)
    pixels = F.conv2d(x, _last(merged), padding=1).permute(0, 2, 3, 1).reshape(b, h * w, -1)
    q, k, v = pixels.chunk(3, dim=-1)
    lengths = pixels[..., : 2 * channels].norm(dim=1).clamp_min(1e-12)
    products = q.mT @ k / lengths[:, :channels, None] / lengths[:, None, channels:]
    # A head attends to its own channels: the blocks on the diagonal.
    blocks = products.unflatten(1, (heads, -1)).unflatten(3, (heads, -1))
    blocks = blocks.diagonal(dim1=1, dim2=3).permute(0, 3, 1, 2)
    weights = (blocks * attention.scale).softmax(dim=-1)
    matrices = torch.einsum("ohd,bhde->bohe", project.unflatten(1, (heads, -1)), weights)
    return (v @ matrices.flatten(2).mT).unflatten(1, (h, w)).permute(0, 3, 1, 2)


def _feed_forward(layer: Any, x: Tensor) -> Tensor:
    # Reflection commutes with the 1x1 convolution in front of it.
    inwards = _matrix(layer.project_in).unflatten(0, (-1, 2))
    kernel = layer.dwconv.weight.unflatten(0, (-1, 2))
    merged = torch.einsum("gojxy,gjc->gocxy", kernel, inwards).flatten(0, 1)
    gate, y = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), _last(merged)).chunk(2, dim=1)
    return F.conv2d(F.gelu(gate) * y, layer.project_out.weight)
