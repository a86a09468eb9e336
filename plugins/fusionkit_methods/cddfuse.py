"""CDDFuse (Zhao et al., CVPR 2023): shared base features and specific detail features."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

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
from fusionkit_methods.attention import ChannelBlock
from fusionkit_methods.layers import conv3

_EPSILON = 1.01
"""Keeps the denominator of the loss positive, as in the paper."""


class Coupling(nn.Module):
    """An invertible affine coupling layer (Dinh et al., ICLR 2017), which loses no detail.

    Each half of the channels shifts or scales the other half.

    Args:
        channels: Channels of input and output, an even number.
    """

    def __init__(self, channels: int):
        super().__init__()
        half = channels // 2
        self.mix = nn.Conv2d(channels, channels, 1)
        self.shift, self.scale, self.back = (_inner(half) for _ in range(3))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return the transformed halves, concatenated."""
        a, b = self.mix(x).chunk(2, dim=1)
        b = b + self.shift(a)
        # The scale stays between 1/e and e, so that the layer is invertible.
        a = a * torch.exp(torch.tanh(self.scale(b))) + self.back(b)
        return torch.cat((a, b), dim=1)


class CDDFuse(Backbone):
    """CDDFuse: base features from attention, detail features from invertible layers (CVPR 2023).

    A shared encoder feeds both branches. Base and detail features of the sources are fused
    separately and decoded together. Zhao et al., "CDDFuse: Correlation-Driven Dual-Branch Feature
    Decomposition for Multi-Modality Image Fusion", CVPR 2023.

    Args:
        width: Channels, a multiple of twice ``heads``; 64 in the paper.
        heads: Number of attention heads; 8 in the paper.
        blocks: Attention blocks of the encoder, and of the decoder; 4 in the paper.
        couplings: Invertible layers of the detail branch; 3 in the paper.
        modalities: Names of the sources; filled in by the run.

    Raises:
        FusionkitError: if ``width`` is not a multiple of twice ``heads``.

    Example:
        >>> import torch
        >>> import fusionkit as fk
        >>> backbone = fk.build("backbone", name="cddfuse", width=8, heads=2, blocks=1)
        >>> sources = {"infrared": torch.rand(2, 1, 32, 48), "visible": torch.rand(2, 1, 32, 48)}
        >>> tuple(backbone(sources).shape)
        (2, 1, 32, 48)
    """

    name = "cddfuse"
    example: ClassVar = {"width": 8, "heads": 2, "blocks": 1, "couplings": 1}

    def __init__(
        self,
        width: Annotated[int, Field(ge=2)] = 64,
        heads: Annotated[int, Field(ge=1)] = 8,
        blocks: Annotated[int, Field(ge=1)] = 4,
        couplings: Annotated[int, Field(ge=1)] = 3,
        modalities: Modalities = ("infrared", "visible"),
    ):
        super().__init__()
        self.modalities = check_modalities(self.name, modalities)
        if width % (2 * heads):
            raise FusionkitError(
                f"cddfuse: expected width to be a multiple of {2 * heads} (twice the heads), "
                f"found {width}"
            )

        def attention(count: int) -> list[nn.Module]:
            return [ChannelBlock(width, heads) for _ in range(count)]

        def details(count: int) -> list[nn.Module]:
            return [Coupling(width) for _ in range(count)]

        self.shared = nn.Sequential(conv3(1, width), *attention(blocks))
        self.base = nn.Sequential(*attention(1))
        self.detail = nn.Sequential(*details(couplings))
        self.fuse_base = nn.Sequential(*attention(1))
        self.fuse_detail = nn.Sequential(*details(1))
        self.decoder = nn.Sequential(
            nn.Conv2d(2 * width, width, 1), *attention(blocks), conv3(width, 1), nn.Sigmoid()
        )

    def decompose(self, x: Float[Tensor, "b 1 h w"]) -> tuple[Tensor, Tensor]:
        """Return the base and detail features of a source, each (b, width, h, w)."""
        shared = self.shared(x)
        return self.base(shared), self.detail(shared)

    def forward(self, sources: Images) -> Float[Tensor, "b 1 h w"]:
        """Fuse a batch.

        Raises:
            FusionkitError: if a source that the network was built for is missing.
        """
        images = ordered_sources(self, sources)
        bases, details = zip(*(self.decompose(image) for image in images), strict=True)
        base = self.fuse_base(torch.stack(bases).mean(dim=0))
        detail = self.fuse_detail(torch.stack(details).mean(dim=0))
        return self.decoder(torch.cat((base, detail), dim=1))


class Decomposition(Loss):
    """Decomposition loss of CDDFuse: correlated base, uncorrelated detail features (CVPR 2023).

    CC(details)^2 / (1.01 + CC(bases)), averaged over all pairs of sources, where CC is Pearson's
    correlation per image and channel. The backbone must have base and detail features
    (``cddfuse``). The loss does not look at the fused image, so combine it with one that does.

    Example:
        >>> import torch
        >>> import fusionkit as fk
        >>> from fusionkit.interfaces import FusionStep
        >>> backbone = fk.build("backbone", name="cddfuse", width=8, heads=2, blocks=1)
        >>> sources = {"infrared": torch.rand(2, 1, 32, 32), "visible": torch.rand(2, 1, 32, 32)}
        >>> step = FusionStep(sources, backbone(sources), backbone, {}, [], torch.Generator())
        >>> loss = fk.build("loss", name="decomposition")
        >>> tuple(loss(step).shape), loss(step).item() > 0
        ((), True)
    """

    name = "decomposition"
    refuses: ClassVar = dict.fromkeys(
        ("scalar", "finite", "gradient", "optimum"), "it needs the features of the backbone cddfuse"
    )

    def forward(self, step: FusionStep) -> Float[Tensor, ""]:
        """Return the mean over the pairs of sources.

        Raises:
            FusionkitError: if the backbone has no base and detail features.
        """
        backbone: Any = step.backbone  # few backbones have the method ``decompose``
        try:
            decompose = backbone.decompose
        except AttributeError:
            raise FusionkitError(
                f"the loss decomposition needs a backbone with base and detail features, found "
                f"{step.backbone.name!r}; use the backbone cddfuse, or remove the loss"
            ) from None
        features = [decompose(source) for source in step.sources.values()]
        terms = []
        for k, (base, detail) in enumerate(features):
            for other_base, other_detail in features[:k]:
                details = correlation(detail, other_detail).square()
                terms.append(details / (_EPSILON + correlation(base, other_base)))
        return torch.stack(terms).mean()


def correlation(a: Float[Tensor, "b c h w"], b: Float[Tensor, "b c h w"]) -> Float[Tensor, ""]:
    """Return Pearson's correlation over the pixels, averaged over images and channels.

    Example:
        >>> x = torch.rand(2, 3, 8, 8)
        >>> round(correlation(x, 1 - 2 * x).item(), 3)
        -1.0
    """
    a, b = (x - x.mean(dim=(2, 3), keepdim=True) for x in (a, b))
    products = (a * b).mean(dim=(2, 3))
    variances = a.square().mean(dim=(2, 3)) * b.square().mean(dim=(2, 3))
    return (products / (variances + 1e-12).sqrt()).mean()


def _inner(channels: int) -> nn.Sequential:
    hidden = 2 * channels
    return nn.Sequential(
        nn.Conv2d(channels, hidden, 1),
        nn.ReLU6(),
        nn.Conv2d(hidden, hidden, 3, padding=1, padding_mode="reflect", groups=hidden),
        nn.ReLU6(),
        nn.Conv2d(hidden, channels, 1),
    )
