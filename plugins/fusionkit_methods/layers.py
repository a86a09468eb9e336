"""Layers that several methods share."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


def conv3(inputs: int, outputs: int) -> nn.Conv2d:
    """Return a 3 x 3 convolution; it reflects at the border, which avoids a visible frame."""
    return nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode="reflect")


class DenseBlock(nn.Module):
    """Convolutions that each see the input and all earlier outputs (DenseNet, CVPR 2017).

    Args:
        inputs: Channels of the input.
        growth: Channels of each layer.
        layers: Number of layers.
        slope: Negative slope of the leaky ReLU; 0 for a ReLU.

    Attributes:
        channels: Channels of the output.

    Example:
        >>> block = DenseBlock(inputs=4, growth=8, layers=3)
        >>> tuple(block(torch.rand(2, 4, 16, 16)).shape)
        (2, 28, 16, 16)
    """

    def __init__(self, inputs: int, growth: int, layers: int, slope: float = 0.0):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(conv3(inputs + k * growth, growth), nn.LeakyReLU(slope))
            for k in range(layers)
        )
        self.channels = inputs + layers * growth

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        """Return the input and the outputs of all layers, concatenated."""
        for layer in self.layers:
            x = torch.cat((x, layer(x)), dim=1)
        return x
