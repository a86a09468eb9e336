"""U2Fusion (Xu et al., IEEE TPAMI 2020): keep of each source what its information is worth."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from fusionkit.interfaces import Backbone, FusionStep, Images, Loss, Modalities
from fusionkit_methods.parts import Dense, check_modalities, conv3, ordered, similarity, strength


class U2Fusion(Backbone):
    """A dense network on the stacked sources, then layers that narrow to one channel.

    Args:
        growth: Channels of each dense layer; 44 in the paper.
        layers: Dense layers.
        modalities: Names of the sources.
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
        self.dense = Dense(growth, growth, layers, slope=0.2)
        widths = (self.dense.channels, 2 * growth, growth, growth // 2 + 1)
        tail: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            tail += [conv3(inputs, outputs), nn.LeakyReLU(0.2)]
        self.tail = nn.Sequential(*tail, conv3(widths[-1], 1), nn.Sigmoid())

    def forward(self, sources: Images) -> Float[Tensor, "b 1 h w"]:
        """Fuse a batch."""
        stack = torch.cat(ordered(self.name, self.modalities, sources), dim=1)
        return self.tail(self.dense(self.first(stack)))


class InformationPreservation(Loss):
    """Sum over the sources of w (1 - SSIM) + intensity w MSE, w a softmax of their information.

    The paper's measurement and loss, with one change: information is the mean squared gradient of
    the source itself at several scales, where the paper takes the gradients of VGG-16's feature
    maps, whose weights this library neither ships nor downloads.

    Args:
        temperature: What the information is divided by before the softmax, in squared units of
            the [0, 1] range; the smaller, the more the richer source takes all.
        intensity: Weight of the squared error; 20 in the paper.
        scales: How many times gradients are taken, halving the image in between.
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
            unlike = 1 - similarity(step.fused, source)
            total = total + weight * (unlike + self.intensity * error)
        return total.mean()

    def weights(self, sources: list[Tensor]) -> Float[Tensor, "m b"]:
        """Return the weight of each source of each scene; they sum to 1 over the sources."""
        measures = []
        for x in sources:
            found = x.new_zeros(len(x))
            for scale in range(self.scales):
                if scale:
                    x = F.avg_pool2d(x, 2)
                found = found + strength(x).square().mean(dim=(1, 2, 3)) / self.scales
            measures.append(found)
        return (torch.stack(measures) / self.temperature).softmax(dim=0)
