"""SeAFusion (Tang et al., Information Fusion 2022): gradient residual dense blocks."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

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
from fusionkit_methods.measures import edge_strength


class GradientBlock(nn.Module):
    """Gradient residual dense block: a dense stream plus the edge strength of the input.

    Args:
        inputs: Channels of the input.
        outputs: Channels of the output.
    """

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.dense = DenseBlock(inputs, inputs, 2, slope=0.2)
        self.merge = nn.Conv2d(self.dense.channels, outputs, 1)
        self.edges = nn.Conv2d(inputs, outputs, 1)
        self.activation = nn.LeakyReLU(0.2)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        """Return the sum of both streams after the activation."""
        return self.activation(self.merge(self.dense(x)) + self.edges(edge_strength(x)))


class SeAFusion(Backbone):
    """SeAFusion: a network of gradient residual dense blocks (Information Fusion, 2022).

    Two blocks per modality extract features; a decoder reconstructs the fused image. Tang et al.,
    "Image fusion in the loop of high-level vision tasks", Information Fusion, 2022. The paper
    also trains with the loss of a segmentation network, which is left out here; the task
    ``segmentation`` measures how well fused images can be segmented.

    Args:
        width: Channels of the first layer; 16 in the paper.
        modalities: Names of the sources; filled in by the run.

    Example:
        >>> import torch
        >>> import fusionkit as fk
        >>> backbone = fk.build("backbone", name="seafusion", width=8)
        >>> sources = {"infrared": torch.rand(2, 1, 32, 48), "visible": torch.rand(2, 1, 32, 48)}
        >>> tuple(backbone(sources).shape)
        (2, 1, 32, 48)
    """

    name = "seafusion"

    def __init__(
        self,
        width: Annotated[int, Field(ge=1)] = 16,
        modalities: Modalities = ("infrared", "visible"),
    ):
        super().__init__()
        self.modalities = check_modalities(self.name, modalities)
        self.extractors = nn.ModuleList(
            nn.Sequential(
                conv3(1, width),
                nn.LeakyReLU(0.2),
                GradientBlock(width, 2 * width),
                GradientBlock(2 * width, 3 * width),
            )
            for _ in self.modalities
        )
        widths = (3 * width * len(self.modalities), 4 * width, 2 * width, width)
        tail: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            tail += [conv3(inputs, outputs), nn.LeakyReLU(0.2)]
        self.reconstructor = nn.Sequential(*tail, nn.Conv2d(width, 1, 1), nn.Sigmoid())

    def forward(self, sources: Images) -> Float[Tensor, "b 1 h w"]:
        """Fuse a batch.

        Raises:
            FusionkitError: if a source that the network was built for is missing.
        """
        images = ordered_sources(self, sources)
        pairs = zip(self.extractors, images, strict=True)
        return self.reconstructor(torch.cat([extract(x) for extract, x in pairs], dim=1))


class Content(Loss):
    """Content loss of SeAFusion: the brightest pixel and the strongest edge of the sources (2022).

    mean |f - max s| + texture mean ||grad f| - max |grad s||, where f is the fused image, the
    maxima are over the sources s at each pixel, and |grad| is |dx| + |dy| by the Sobel operator.

    Args:
        texture: Weight of the texture term; 10 in the paper.

    Example:
        >>> import torch
        >>> import fusionkit as fk
        >>> from fusionkit.interfaces import FusionStep
        >>> backbone = fk.build("backbone", name="seafusion", width=8)
        >>> sources = {"infrared": torch.rand(2, 1, 32, 32), "visible": torch.rand(2, 1, 32, 32)}
        >>> step = FusionStep(sources, backbone(sources), backbone, {}, [], torch.Generator())
        >>> loss = fk.build("loss", name="content")
        >>> tuple(loss(step).shape), loss(step).item() > 0
        ((), True)
    """

    name = "content"

    def __init__(self, texture: Annotated[float, Field(ge=0)] = 10.0):
        super().__init__()
        self.texture = texture

    def forward(self, step: FusionStep) -> Float[Tensor, ""]:
        """Return the sum of the intensity and the texture term."""
        sources = torch.stack(list(step.sources.values()))
        edges = torch.stack([edge_strength(source) for source in step.sources.values()])
        intensity = (step.fused - sources.amax(dim=0)).abs().mean()
        return (
            intensity + self.texture * (edge_strength(step.fused) - edges.amax(dim=0)).abs().mean()
        )
