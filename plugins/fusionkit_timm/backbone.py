"""Backbone ``timm-unet``: timm encoders, fusion at each level, and a decoder."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from fusionkit.interfaces import (
    Backbone,
    Images,
    Modalities,
    check_modalities,
    ordered_sources,
)
from fusionkit_timm.decoders import DECODERS
from fusionkit_timm.encoder import Encoder
from fusionkit_timm.fusion import Fusion, Mode


class TimmUNet(Backbone):
    """Fusion network from timm encoders: features are fused at each level, then decoded.

    Encoders are those of the library timm (R. Wightman, 2019). The finest level is a convolution of
    the sources at full resolution, so that no detail is lost. Many encoders use batch
    normalization: during training, the result of a pair then depends on the other pairs of the
    batch. The decoders use group normalization.

    Args:
        encoder: Name of a timm model, see ``timm.list_models()``; it must accept images of any
            size.
        pretrained: Start from timm's pretrained weights, which are downloaded on first use.
        shared: Use one encoder for all modalities instead of one for each.
        decoder: ``unet`` (U-Net with skip connections), ``fpn`` (feature pyramid network), or
            ``sum`` (a sum of one 1 x 1 convolution per level).
        fusion: How to fuse the features of the modalities: a 1 x 1 convolution of all of them
            (``concat``), or their ``max`` or ``mean``, which suit a shared encoder.
        width: Channels of the decoder at full resolution.
        modalities: Names of the sources; filled in by the run.

    Raises:
        FusionkitError: if timm has no such encoder, its weights cannot be downloaded, or it accepts
            images of one size only.

    Example:
        >>> import torch
        >>> import fusionkit as fk
        >>> backbone = fk.build("backbone", name="timm-unet", encoder="test_resnet", width=8)
        >>> sources = {"infrared": torch.rand(2, 1, 64, 96), "visible": torch.rand(2, 1, 64, 96)}
        >>> tuple(backbone(sources).shape), backbone.stride
        ((2, 1, 64, 96), 32)
    """

    name = "timm-unet"
    example: ClassVar = {"encoder": "test_resnet", "width": 8}

    def __init__(
        self,
        encoder: str = "resnet18",
        pretrained: bool = False,
        shared: bool = False,
        decoder: Literal["unet", "fpn", "sum"] = "unet",
        fusion: Mode = "concat",
        width: Annotated[int, Field(ge=1)] = 16,
        modalities: Modalities = ("infrared", "visible"),
    ):
        super().__init__()
        self.modalities = check_modalities(self.name, modalities)
        count = 1 if shared else len(modalities)
        # Lists, because some names of modalities are not valid as names of modules.
        self.encoders = nn.ModuleList(Encoder(encoder, pretrained) for _ in range(count))
        self.stems = nn.ModuleList(_stem(width) for _ in range(count))
        first = self.encoders[0]
        assert isinstance(first, Encoder)
        self.stride = first.stride
        channels = [width, *first.channels]
        self.fusions = nn.ModuleList(Fusion(fusion, len(modalities), c) for c in channels)
        self.decoder = DECODERS[decoder](channels, width)
        self.last = nn.Conv2d(width, 1, 3, padding=1, padding_mode="reflect")

    def forward(self, sources: Images) -> Float[Tensor, "b 1 h w"]:
        """Fuse a batch; h and w must be multiples of ``stride``.

        Raises:
            FusionkitError: if a source that the network was built for is missing.
        """
        per_modality: list[list[Tensor]] = []
        for k, x in enumerate(ordered_sources(self, sources)):
            which = k % len(self.encoders)
            per_modality.append([self.stems[which](x), *self.encoders[which](x)])
        levels = zip(*per_modality, strict=True)
        fused = [fuse(maps) for fuse, maps in zip(self.fusions, levels, strict=True)]
        return torch.sigmoid(self.last(self.decoder(fused)))


def _stem(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1, padding_mode="reflect"), nn.GroupNorm(1, width), nn.GELU()
    )
