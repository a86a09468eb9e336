"""DenseFuse (Li and Wu, IEEE TIP 2019): a dense encoder, fused features, a decoder."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from fusionkit.interfaces import Backbone, FusionStep, Images, Loss, Modalities
from fusionkit_methods.parts import Dense, check_modalities, conv3, ordered, similarity


class DenseFuse(Backbone):
    """One encoder for all sources, whose features are added, or weighted by their l1 norm.

    Args:
        width: Channels of each layer of the encoder; 16 in the paper.
        strategy: ``addition``, or ``l1-norm``: weights in proportion to the features' l1 norm,
            averaged over 3 x 3 pixels (section III-B).
        modalities: Names of the sources.
    """

    name = "densefuse"

    def __init__(
        self,
        width: Annotated[int, Field(ge=1)] = 16,
        strategy: Literal["addition", "l1-norm"] = "l1-norm",
        modalities: Modalities = ("infrared", "visible"),
    ):
        super().__init__()
        self.modalities = check_modalities(self.name, modalities)
        self.strategy = strategy
        self.first = nn.Sequential(conv3(1, width), nn.ReLU())
        self.dense = Dense(width, width, 3)
        full = self.dense.channels
        widths = (full, full, 2 * width, width)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [conv3(inputs, outputs), nn.ReLU()]
        # The paper ends linearly; the sigmoid keeps to the range of images.
        self.decoder = nn.Sequential(*layers, conv3(width, 1), nn.Sigmoid())

    def forward(self, sources: Images) -> Float[Tensor, "b 1 h w"]:
        """Fuse a batch."""
        images = ordered(self.name, self.modalities, sources)
        features = torch.stack([self.dense(self.first(image)) for image in images])
        if self.strategy == "addition":
            return self.decoder(features.sum(dim=0))
        activity = features.abs().sum(dim=2, keepdim=True).flatten(0, 1)
        padded = F.pad(activity, (1, 1, 1, 1), mode="replicate")
        activity = F.avg_pool2d(padded, 3, stride=1).unflatten(0, (len(images), -1))
        weights = activity / activity.sum(dim=0).clamp_min(1e-6)
        return self.decoder((weights * features).sum(dim=0))


class Reconstruction(Loss):
    """Sum over the sources of MSE + weight (1 - SSIM) of each, fused with itself, and the source.

    DenseFuse's encoder and decoder learn to repeat images; nothing is fused in
    training. The paper leaves the fusion layer out then; an image fused with itself needs no
    second way through the network.

    Args:
        structure: Weight of the structural term; the paper tries 1 to 1000.
    """

    name = "reconstruction"

    def __init__(self, structure: Annotated[float, Field(ge=0)] = 1.0):
        super().__init__()
        self.structure = structure

    def forward(self, step: FusionStep) -> Float[Tensor, ""]:
        """Return the sum."""
        total = step.fused.new_zeros(())
        for source in step.sources.values():
            again = step.backbone(dict.fromkeys(step.sources, source))
            total = total + (again - source).square().mean()
            total = total + self.structure * (1 - similarity(again, source)).mean()
        return total
