"""What several of the methods are made of."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from kornia.filters import spatial_gradient
from torch import Tensor, nn

from fusionkit.errors import FusionkitError
from fusionkit.interfaces import Images


def check_modalities(name: str, modalities: Sequence[str]) -> tuple[str, ...]:
    """Return the modalities; raise FusionkitError unless there are two or more different ones."""
    if len(modalities) < 2 or len(set(modalities)) < len(modalities):
        raise FusionkitError(
            f"{name} fuses two or more different modalities, found {list(modalities)}"
        )
    return tuple(modalities)


def ordered(name: str, modalities: Sequence[str], sources: Images) -> list[Tensor]:
    """Return the sources in the order that a network was built for.

    Raises:
        FusionkitError: if one is missing.
    """
    if missing := [modality for modality in modalities if modality not in sources]:
        raise FusionkitError(
            f"{name} was built for {', '.join(modalities)}; missing {', '.join(missing)} among "
            f"the sources {', '.join(sources)}"
        )
    return [sources[modality] for modality in modalities]


def conv3(inputs: int, outputs: int) -> nn.Conv2d:
    """Return a 3 x 3 convolution with reflected borders, which leave no frame in the image."""
    return nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode="reflect")


def strength(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """Return |dx| + |dy| of each channel by Sobel's operator, normalized."""
    return spatial_gradient(x).abs().sum(dim=2)


def similarity(a: Float[Tensor, "b 1 h w"], b: Float[Tensor, "b 1 h w"]) -> Float[Tensor, " b"]:
    """Return the mean SSIM of each pair of images (Wang et al., 2004; window 11, range 1)."""
    from kornia.metrics import ssim

    return ssim(a, b, window_size=11).mean(dim=(1, 2, 3))


class Dense(nn.Module):
    """Layers each of which sees the input and all layers before it (DenseNet, CVPR 2017).

    Args:
        inputs: Channels of the input.
        growth: Channels of each layer.
        layers: How many.
        slope: Of the leaky ReLU; 0 for a ReLU.
    """

    def __init__(self, inputs: int, growth: int, layers: int, slope: float = 0.0):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(conv3(inputs + k * growth, growth), nn.LeakyReLU(slope))
            for k in range(layers)
        )
        self.channels = inputs + layers * growth

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        """Return the input and all layers, concatenated."""
        for layer in self.layers:
            x = torch.cat((x, layer(x)), dim=1)
        return x
