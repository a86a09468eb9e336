"""Fusion of the feature maps of all modalities at one level."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

Mode = Literal["concat", "max", "mean"]


class Fusion(nn.Module):
    """Fuses the feature maps of one level.

    Args:
        mode: ``max``, ``mean``, or ``concat``: a 1 x 1 convolution of all maps.
        modalities: Number of modalities.
        channels: Channels of each map.

    Example:
        >>> fuse = Fusion("max", modalities=2, channels=1)
        >>> fuse([torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([[[[0.0, 2.0]]]])])
        tensor([[[[1., 2.]]]])
    """

    def __init__(self, mode: Mode, modalities: int, channels: int):
        super().__init__()
        self.mode = mode
        self.mix = nn.Conv2d(modalities * channels, channels, 1) if mode == "concat" else None

    def forward(self, maps: Sequence[Tensor]) -> Float[Tensor, "b c h w"]:
        """Fuse feature maps (b, c, h, w), one for each modality."""
        if self.mix is not None:
            return self.mix(torch.cat(tuple(maps), dim=1))
        stacked = torch.stack(tuple(maps))
        return stacked.amax(dim=0) if self.mode == "max" else stacked.mean(dim=0)
