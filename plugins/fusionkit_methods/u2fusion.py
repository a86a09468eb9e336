"""U2Fusion (Xu et al., IEEE TPAMI 2022): sources weighted by their information."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from fusionkit.interfaces import (
    Backbone,
    FusionStep,
    Images,
    Loss,
    Modalities,
    check_modalities,
    ordered_sources,
)
from fusionkit_methods.layers import DenseBlock, conv3
from fusionkit_methods.measures import edge_strength, mean_ssim


class U2Fusion(Backbone):
    """U2Fusion: a dense network on the concatenated sources (IEEE TPAMI 2022).

    Xu et al., "U2Fusion: A Unified Unsupervised Image Fusion Network", IEEE Transactions on Pattern
    Analysis and Machine Intelligence, 2022. Trained with ``information-preservation``.

    Args:
        growth: Channels of each dense layer; 44 in the paper.
        layers: Number of dense layers.
        modalities: Names of the sources; filled in by the run.

    Example:
        >>> import torch
        >>> import fusionkit as fk
        >>> backbone = fk.build("backbone", name="u2fusion", growth=6)
        >>> sources = {"infrared": torch.rand(2, 1, 32, 48), "visible": torch.rand(2, 1, 32, 48)}
        >>> tuple(backbone(sources).shape)
        (2, 1, 32, 48)
    """

    name = "u2fusion"
    example: ClassVar = {"growth": 6, "layers": 2}

    def __init__(
        self,
        growth: Annotated[int, Field(ge=1)] = 44,
        layers: Annotated[int, Field(ge=1)] = 6,
        modalities: Modalities = ("infrared", "visible"),
    ):
        super().__init__()
        self.modalities = check_modalities(self.name, modalities)
        self.first = nn.Sequential(conv3(len(self.modalities), growth), nn.LeakyReLU(0.2))
        self.dense = DenseBlock(growth, growth, layers, slope=0.2)
        widths = (self.dense.channels, 2 * growth, growth, growth // 2 + 1)
        tail: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            tail += [conv3(inputs, outputs), nn.LeakyReLU(0.2)]
        self.tail = nn.Sequential(*tail, conv3(widths[-1], 1), nn.Sigmoid())

    def forward(self, sources: Images) -> Float[Tensor, "b 1 h w"]:
        """Fuse a batch.

        Raises:
            FusionkitError: if a source that the network was built for is missing.
        """
        stack = torch.cat(ordered_sources(self, sources), dim=1)
        return self.tail(self.dense(self.first(stack)))


class InformationPreservation(Loss):
    """Loss of U2Fusion: similarity to each source, weighted by its information (TPAMI 2022).

    Sum over the sources of w (1 - SSIM) + intensity w MSE, where the weights w are a softmax of the
    information in the sources. The paper measures information by the gradients of VGG-16's feature
    maps. Here it is the mean squared gradient of the source at several scales, because this library
    neither contains nor downloads the weights of VGG-16.

    Args:
        temperature: Divides the information before the softmax, in squared grey levels of the range
            [0, 1]. The smaller it is, the more the source with more information dominates.
        intensity: Weight of the squared error; 20 in the paper.
        scales: Number of scales, each half the size of the one before.

    Example:
        >>> import torch
        >>> import fusionkit as fk
        >>> from fusionkit.interfaces import FusionStep
        >>> backbone = fk.build("backbone", name="u2fusion", growth=6)
        >>> sources = {"infrared": torch.rand(2, 1, 32, 32), "visible": torch.rand(2, 1, 32, 32)}
        >>> step = FusionStep(sources, backbone(sources), backbone, {}, [], torch.Generator())
        >>> loss = fk.build("loss", name="information-preservation")
        >>> tuple(loss(step).shape), loss(step).item() > 0
        ((), True)
    """

    name = "information-preservation"

    def __init__(
        self,
        temperature: Annotated[float, Field(gt=0)] = 1e-3,
        intensity: Annotated[float, Field(ge=0)] = 20.0,
        scales: Annotated[int, Field(ge=1, le=5)] = 3,
    ):
        super().__init__()
        self.temperature, self.intensity, self.scales = temperature, intensity, scales

    def forward(self, step: FusionStep) -> Float[Tensor, ""]:
        """Return the mean over the batch."""
        sources = list(step.sources.values())
        weights = self.weights(sources)
        total = step.fused.new_zeros(len(step.fused))
        for weight, source in zip(weights, sources, strict=True):
            error = (step.fused - source).square().mean(dim=(1, 2, 3))
            structure = 1 - mean_ssim(step.fused, source)
            total = total + weight * (structure + self.intensity * error)
        return total.mean()

    def weights(self, sources: list[Tensor]) -> Float[Tensor, "m b"]:
        """Return the (m, b) weights of m sources of b scenes; they sum to 1 over the sources."""
        information = []
        for x in sources:
            total = x.new_zeros(len(x))
            for scale in range(self.scales):
                if scale:
                    x = F.avg_pool2d(x, 2)
                total = total + edge_strength(x).square().mean(dim=(1, 2, 3)) / self.scales
            information.append(total)
        return (torch.stack(information) / self.temperature).softmax(dim=0)
