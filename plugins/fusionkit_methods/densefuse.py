"""DenseFuse (Li and Wu, IEEE TIP 2019): an autoencoder whose features are fused."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

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
from fusionkit_methods.measures import mean_ssim


class DenseFuse(Backbone):
    """DenseFuse: a dense encoder, shared by all sources, whose features are fused (TIP 2019).

    Li and Wu, "DenseFuse: A Fusion Approach to Infrared and Visible Images", IEEE Transactions on
    Image Processing, 2019. Trained with the loss ``reconstruction``.

    Args:
        width: Channels of each layer of the encoder; 16 in the paper.
        strategy: How to fuse the features: ``addition``, or ``l1-norm``, which weights them by
            their l1 norm averaged over 3 x 3 pixels (section III-B of the paper).
        modalities: Names of the sources; filled in by the run.

    Example:
        >>> import torch
        >>> import fusionkit as fk
        >>> backbone = fk.build("backbone", name="densefuse", width=8)
        >>> sources = {"infrared": torch.rand(2, 1, 32, 48), "visible": torch.rand(2, 1, 32, 48)}
        >>> tuple(backbone(sources).shape)
        (2, 1, 32, 48)
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
        self.dense = DenseBlock(width, width, 3)
        full = self.dense.channels
        widths = (full, full, 2 * width, width)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [conv3(inputs, outputs), nn.ReLU()]
        # The paper has no activation here; the sigmoid keeps fused images in [0, 1].
        self.decoder = nn.Sequential(*layers, conv3(width, 1), nn.Sigmoid())

    def forward(self, sources: Images) -> Float[Tensor, "b 1 h w"]:
        """Fuse a batch.

        Raises:
            FusionkitError: if a source that the network was built for is missing.
        """
        images = ordered_sources(self, sources)
        features = torch.stack([self.dense(self.first(image)) for image in images])
        if self.strategy == "addition":
            return self.decoder(features.sum(dim=0))
        activity = features.abs().sum(dim=2, keepdim=True).flatten(0, 1)
        padded = F.pad(activity, (1, 1, 1, 1), mode="replicate")
        activity = F.avg_pool2d(padded, 3, stride=1).unflatten(0, (len(images), -1))
        weights = activity / activity.sum(dim=0).clamp_min(1e-6)
        return self.decoder((weights * features).sum(dim=0))


class Reconstruction(Loss):
    """Reconstruction loss of DenseFuse: the network as an autoencoder (IEEE TIP 2019).

    Sum over the sources of MSE(x, s) + structure (1 - SSIM(x, s)), where x is the source s fused
    with itself. The paper trains without the fusion layer instead; fusing an image with itself has
    the same effect and works with any backbone.

    Args:
        structure: Weight of the structural term; the paper tries 1 to 1000.

    Example:
        >>> import torch
        >>> import fusionkit as fk
        >>> from fusionkit.interfaces import FusionStep
        >>> backbone = fk.build("backbone", name="densefuse", width=8)
        >>> sources = {"infrared": torch.rand(2, 1, 32, 32), "visible": torch.rand(2, 1, 32, 32)}
        >>> step = FusionStep(sources, backbone(sources), backbone, {}, [], torch.Generator())
        >>> loss = fk.build("loss", name="reconstruction")
        >>> tuple(loss(step).shape), loss(step).item() > 0
        ((), True)
    """

    name = "reconstruction"

    def __init__(self, structure: Annotated[float, Field(ge=0)] = 1.0):
        super().__init__()
        self.structure = structure

    def forward(self, step: FusionStep) -> Float[Tensor, ""]:
        """Return the sum over the sources."""
        total = step.fused.new_zeros(())
        for source in step.sources.values():
            rebuilt = step.backbone(dict.fromkeys(step.sources, source))
            total = total + (rebuilt - source).square().mean()
            total = total + self.structure * (1 - mean_ssim(rebuilt, source)).mean()
        return total
