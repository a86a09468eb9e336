"""SwinFusion (Ma et al., IEEE/CAA JAS 2022): attention within and across the modalities."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from fusionkit.errors import FusionkitError
from fusionkit.interfaces import Backbone, FusionStep, Images, Loss, Modalities
from fusionkit_methods.attention import WindowBlock
from fusionkit_methods.parts import check_modalities, conv3, ordered, similarity


class SwinFusion(Backbone):
    """Windows of each modality ask themselves, then those of the other modalities, in turns.

    Args:
        width: Channels, a multiple of ``heads``; 60 in the paper.
        heads: Of the attention; 6 in the paper.
        depth: Pairs of a plain and a shifted block, of each of the two kinds.
        window: Side of the windows in pixels; h and w must be multiples of it. 8 in the paper.
        modalities: Names of the sources.
    """

    name = "swinfusion"
    example: ClassVar = {"width": 8, "heads": 2, "depth": 1}

    def __init__(
        self,
        width: Annotated[int, Field(ge=1)] = 60,
        heads: Annotated[int, Field(ge=1)] = 6,
        depth: Annotated[int, Field(ge=1)] = 2,
        window: Annotated[int, Field(ge=2)] = 8,
        modalities: Modalities = ("infrared", "visible"),
    ):
        super().__init__()
        self.modalities = check_modalities(self.name, modalities)
        if width % heads:
            raise FusionkitError(
                f"swinfusion: expected a width that is a multiple of the {heads} heads, "
                f"found {width}"
            )
        self.stride = window
        count = len(self.modalities)

        def blocks() -> nn.ModuleList:
            return nn.ModuleList(
                WindowBlock(width, heads, window, shift) for shift in (False, True) * depth
            )

        self.first = nn.ModuleList(
            nn.Sequential(conv3(1, width), nn.LeakyReLU(0.2)) for _ in range(count)
        )
        self.within = nn.ModuleList(blocks() for _ in range(count))
        self.across = nn.ModuleList(blocks() for _ in range(count))
        self.merge = nn.Sequential(conv3(count * width, width), nn.LeakyReLU(0.2))
        self.deep = blocks()
        self.last = nn.Sequential(
            conv3(width, width // 2 + 1), nn.LeakyReLU(0.2), conv3(width // 2 + 1, 1), nn.Sigmoid()
        )

    def forward(self, sources: Images) -> Float[Tensor, "b 1 h w"]:
        """Fuse a batch."""
        images = ordered(self.name, self.modalities, sources)
        maps = [first(image) for first, image in zip(self.first, images, strict=True)]
        for layers in zip(*map(_blocks, self.within), strict=True):
            maps = [block(x) for block, x in zip(layers, maps, strict=True)]
        for layers in zip(*map(_blocks, self.across), strict=True):
            # All ask at once, what the others were before this layer.
            total = torch.stack(maps).sum(dim=0)
            others = [(total - x) / (len(maps) - 1) for x in maps]
            maps = [block(x, o) for block, x, o in zip(layers, maps, others, strict=True)]
        x = self.merge(torch.cat(maps, dim=1))
        for block in self.deep:
            x = block(x)
        return self.last(x)


class Structure(Loss):
    """Sum over the m sources of (1 - SSIM(f, s)) / m: the structural term.

    It stands beside ``content``, which holds the terms of intensity and texture.
    """

    name = "structure"

    def forward(self, step: FusionStep) -> Float[Tensor, ""]:
        """Return the mean over the sources and the batch."""
        unlike = [1 - similarity(step.fused, source) for source in step.sources.values()]
        return torch.stack(unlike).mean()


def _blocks(layers: nn.Module) -> list[nn.Module]:
    assert isinstance(layers, nn.ModuleList)
    return list(layers)
