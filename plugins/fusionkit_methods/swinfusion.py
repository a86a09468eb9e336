"""SwinFusion (Ma et al., IEEE/CAA JAS 2022): attention within and between modalities."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from fusionkit.errors import FusionkitError
from fusionkit.interfaces import (
    Backbone,
    FusionStep,
    Images,
    Loss,
    Modalities,
    check_modalities,
    ordered_sources,
)
from fusionkit_methods.attention import WindowBlock
from fusionkit_methods.layers import conv3
from fusionkit_methods.measures import mean_ssim


class SwinFusion(Backbone):
    """SwinFusion: window attention within each modality, then between modalities (JAS 2022).

    Ma et al., "SwinFusion: Cross-domain Long-range Learning for General Image Fusion via Swin
    Transformer", IEEE/CAA Journal of Automatica Sinica, 2022.

    Args:
        width: Channels, a multiple of ``heads``; 60 in the paper.
        heads: Number of attention heads; 6 in the paper.
        depth: Number of pairs of an unshifted and a shifted block: within each modality, between
            modalities, and after merging.
        window: Side of the windows in pixels; h and w must be multiples of it. 8 in the paper.
        modalities: Names of the sources; filled in by the run.

    Raises:
        FusionkitError: if ``width`` is not a multiple of ``heads``.

    Example:
        >>> import torch
        >>> import fusionkit as fk
        >>> backbone = fk.build("backbone", name="swinfusion", width=8, heads=2, depth=1)
        >>> sources = {"infrared": torch.rand(2, 1, 32, 48), "visible": torch.rand(2, 1, 32, 48)}
        >>> tuple(backbone(sources).shape)
        (2, 1, 32, 48)
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
                f"swinfusion: expected width to be a multiple of the {heads} heads, found {width}"
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
        """Fuse a batch; h and w must be multiples of ``stride``.

        Raises:
            FusionkitError: if a source that the network was built for is missing.
        """
        images = ordered_sources(self, sources)
        maps = [first(image) for first, image in zip(self.first, images, strict=True)]
        for layers in zip(*map(_blocks, self.within), strict=True):
            maps = [block(x) for block, x in zip(layers, maps, strict=True)]
        for layers in zip(*map(_blocks, self.across), strict=True):
            # All modalities attend simultaneously to the others' inputs of this layer.
            total = torch.stack(maps).sum(dim=0)
            others = [(total - x) / (len(maps) - 1) for x in maps]
            maps = [block(x, o) for block, x, o in zip(layers, maps, others, strict=True)]
        x = self.merge(torch.cat(maps, dim=1))
        for block in self.deep:
            x = block(x)
        return self.last(x)


class Structure(Loss):
    """Structure loss of SwinFusion: mean of 1 - SSIM(f, s) over the sources s (JAS 2022).

    Combine it with ``content``, which has the intensity and texture terms of the paper.

    Example:
        >>> import torch
        >>> import fusionkit as fk
        >>> from fusionkit.interfaces import FusionStep
        >>> backbone = fk.build("backbone", name="average")
        >>> sources = {"infrared": torch.rand(2, 1, 32, 32), "visible": torch.rand(2, 1, 32, 32)}
        >>> step = FusionStep(sources, backbone(sources), backbone, {}, [], torch.Generator())
        >>> loss = fk.build("loss", name="structure")
        >>> tuple(loss(step).shape), loss(step).item() > 0
        ((), True)
    """

    name = "structure"

    def forward(self, step: FusionStep) -> Float[Tensor, ""]:
        """Return the mean over the sources and the batch."""
        terms = [1 - mean_ssim(step.fused, source) for source in step.sources.values()]
        return torch.stack(terms).mean()


def _blocks(layers: nn.Module) -> list[nn.Module]:
    assert isinstance(layers, nn.ModuleList)
    return list(layers)
