"""SeAFusion (Tang et al., Information Fusion 2022): gradient residual dense blocks."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from fusionkit.interfaces import Backbone, FusionStep, Images, Loss, Modalities
from fusionkit_methods.parts import Dense, check_modalities, conv3, ordered, strength


class GradientBlock(nn.Module):
    """A dense stream, and beside it the Sobel strength of the input through a 1 x 1 convolution.

    Args:
        inputs: Channels that come in.
        outputs: Channels that go out.
    """

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.dense = Dense(inputs, inputs, 2, slope=0.2)
        self.merge = nn.Conv2d(self.dense.channels, outputs, 1)
        self.edges = nn.Conv2d(inputs, outputs, 1)
        self.activation = nn.LeakyReLU(0.2)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        """Return the activated sum of both streams."""
        return self.activation(self.merge(self.dense(x)) + self.edges(strength(x)))


class SeAFusion(Backbone):
    """An extractor of two gradient residual dense blocks per modality, and a reconstructor.

    The paper also trains with the loss of a segmentation network behind it; here the content loss
    stands alone, and the task ``segmentation`` measures what comes of it.

    Args:
        width: Channels of the first layer; 16 in the paper.
        modalities: Names of the sources.
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
        """Fuse a batch."""
        images = ordered(self.name, self.modalities, sources)
        pairs = zip(self.extractors, images, strict=True)
        return self.reconstructor(torch.cat([extract(x) for extract, x in pairs], dim=1))


class Content(Loss):
    """mean |f - max s| + texture mean ||grad f| - max |grad s||.

    The maxima are over the sources, pixel by pixel; |grad| is Sobel's |dx| + |dy|.

    Args:
        texture: Weight of the second term; 10 in the paper.
    """

    name = "content"

    def __init__(self, texture: Annotated[float, Field(ge=0)] = 10.0):
        super().__init__()
        self.texture = texture

    def forward(self, step: FusionStep) -> Float[Tensor, ""]:
        """Return the sum of both terms."""
        sources = torch.stack(list(step.sources.values()))
        edges = torch.stack([strength(source) for source in step.sources.values()])
        intensity = (step.fused - sources.amax(dim=0)).abs().mean()
        return intensity + self.texture * (strength(step.fused) - edges.amax(dim=0)).abs().mean()
