"""Backbone ``timm-unet``: encoders of timm, fused level by level, and a decoder."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from fusionkit.errors import FusionkitError
from fusionkit.interfaces import Backbone, ComponentSpec, Images, Modalities
from fusionkit_timm.decoders import DECODERS
from fusionkit_timm.encoder import Encoder
from fusionkit_timm.fusion import Fusion, Mode


class TimmUNet(Backbone):
    """Encoders of timm, one per modality, fused at each level; a decoder of full resolution.

    The finest level is a convolution of the sources themselves, so that no detail is lost. Many
    encoders have batch normalization: in training, what they make of a pair depends on the rest of
    the batch; in eval mode it does not. The decoders have none.

    Args:
        encoder: Any of timm's that takes images of any size (``timm.list_models()``).
        pretrained: Start from timm's weights, downloaded when first used.
        shared: One encoder for all modalities instead of one for each.
        decoder: ``unet`` climbs level by level with skips, ``fpn`` adds and smooths a pyramid,
            ``sum`` adds one 1x1 convolution of each level.
        fusion: How the modalities' features become one: a 1x1 convolution of all (``concat``), or
            their ``max`` or ``mean``, which suit a shared encoder.
        width: Channels of the decoder at full resolution.
        modalities: Names of the sources, in the order of the encoders.
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
        if len(modalities) < 2 or len(set(modalities)) < len(modalities):
            raise FusionkitError(
                f"timm-unet fuses two or more different modalities, found {list(modalities)}"
            )
        self.modalities = tuple(modalities)
        count = 1 if shared else len(modalities)
        # In lists, not by name: a modality may be called what a module can't.
        self.encoders = nn.ModuleList(Encoder(encoder, pretrained) for _ in range(count))
        self.stems = nn.ModuleList(_stem(width) for _ in range(count))
        first = self.encoders[0]
        assert isinstance(first, Encoder)
        self.stride = first.stride
        channels = [width, *first.channels]
        self.fusions = nn.ModuleList(Fusion(fusion, len(modalities), c) for c in channels)
        self.decoder = DECODERS[decoder](channels, width)
        self.last = nn.Conv2d(width, 1, 3, padding=1, padding_mode="reflect")

    @property
    def spec(self) -> ComponentSpec | None:  # type: ignore[override]
        """What rebuilds it for its own weights, so without those that it started from."""
        return self._spec

    @spec.setter
    def spec(self, spec: ComponentSpec | None) -> None:  # type: ignore[override]
        if spec is not None and spec.arguments.get("pretrained"):
            # A weights file must load where nothing can be downloaded.
            spec = replace(spec, arguments={**spec.arguments, "pretrained": False})
        self._spec = spec

    _spec: ComponentSpec | None = None

    def forward(self, sources: Images) -> Float[Tensor, "b 1 h w"]:
        """Fuse a batch; h and w must be multiples of ``stride``.

        Raises:
            FusionkitError: if a modality that the network was built for is missing.
        """
        if missing := [name for name in self.modalities if name not in sources]:
            raise FusionkitError(
                f"timm-unet was built for {', '.join(self.modalities)}; "
                f"missing {', '.join(missing)} among the sources {', '.join(sources)}"
            )
        per_modality: list[list[Tensor]] = []
        for k, modality in enumerate(self.modalities):
            which = k % len(self.encoders)
            x = sources[modality]
            per_modality.append([self.stems[which](x), *self.encoders[which](x)])
        levels = zip(*per_modality, strict=True)
        fused = [fuse(maps) for fuse, maps in zip(self.fusions, levels, strict=True)]
        return torch.sigmoid(self.last(self.decoder(fused)))


def _stem(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1, padding_mode="reflect"), nn.GroupNorm(1, width), nn.GELU()
    )
