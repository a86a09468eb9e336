"""CDDFuse (Zhao et al., CVPR 2023): what the modalities share, and what each has alone."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from fusionkit.errors import FusionkitError
from fusionkit.interfaces import Backbone, FusionStep, Images, Loss, Modalities
from fusionkit_methods.attention import ChannelBlock
from fusionkit_methods.parts import check_modalities, conv3, ordered

_EPSILON = 1.01
"""Keeps the denominator of the loss positive, as in the paper."""


class Coupling(nn.Module):
    """An invertible layer: either half of the channels moves and scales the other.

    Affine coupling (Dinh et al., ICLR 2017), which loses no detail.

    Args:
        channels: An even number.
    """

    def __init__(self, channels: int):
        super().__init__()
        half = channels // 2
        self.mix = nn.Conv2d(channels, channels, 1)
        self.shift, self.scale, self.back = (_inner(half) for _ in range(3))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return both halves, changed by each other."""
        a, b = self.mix(x).chunk(2, dim=1)
        b = b + self.shift(a)
        # The scale stays between 1/e and e, so that the layer can be undone.
        a = a * torch.exp(torch.tanh(self.scale(b))) + self.back(b)
        return torch.cat((a, b), dim=1)


class CDDFuse(Backbone):
    """A shared encoder, a base branch of attention and an invertible detail branch, fused apart.

    Args:
        width: Channels, a multiple of twice ``heads``; 64 in the paper.
        heads: Of the attention; 8 in the paper.
        blocks: Attention blocks of encoder and of decoder; 4 in the paper.
        couplings: Invertible layers of the detail branch; 3 in the paper.
        modalities: Names of the sources.
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
                f"cddfuse: expected a width that is a multiple of {2 * heads} (twice the heads), "
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
        """Return the base and the detail features of a source, each (b, width, h, w)."""
        shared = self.shared(x)
        return self.base(shared), self.detail(shared)

    def forward(self, sources: Images) -> Float[Tensor, "b 1 h w"]:
        """Fuse a batch: bases and details are averaged apart, then decoded together."""
        images = ordered(self.name, self.modalities, sources)
        bases, details = zip(*(self.decompose(image) for image in images), strict=True)
        base = self.fuse_base(torch.stack(bases).mean(dim=0))
        detail = self.fuse_detail(torch.stack(details).mean(dim=0))
        return self.decoder(torch.cat((base, detail), dim=1))


class Decomposition(Loss):
    """CC(details)^2 / (1.01 + CC(bases)): bases alike, details unlike.

    The mean over all pairs of sources; CC is Pearson's correlation per scene and channel. Needs a
    backbone that has base and detail features, as ``cddfuse`` does; put a loss beside it that
    looks at the fused image.
    """

    name = "decomposition"
    refuses: ClassVar = dict.fromkeys(
        ("scalar", "finite", "gradient", "optimum"), "it needs the features of the backbone cddfuse"
    )

    def forward(self, step: FusionStep) -> Float[Tensor, ""]:
        """Return the mean over the pairs.

        Raises:
            FusionkitError: if the backbone has no such features.
        """
        backbone: Any = step.backbone  # any backbone, of which few have this method
        try:
            decompose = backbone.decompose
        except AttributeError:
            raise FusionkitError(
                f"decomposition: the backbone {step.backbone.name!r} has no base and detail "
                f"features; take the backbone cddfuse, or leave this loss out"
            ) from None
        features = [decompose(source) for source in step.sources.values()]
        terms = []
        for k, (base, detail) in enumerate(features):
            for other_base, other_detail in features[:k]:
                unlike = correlation(detail, other_detail).square()
                terms.append(unlike / (_EPSILON + correlation(base, other_base)))
        return torch.stack(terms).mean()


def correlation(a: Float[Tensor, "b c h w"], b: Float[Tensor, "b c h w"]) -> Float[Tensor, ""]:
    """Return the mean over scenes and channels of Pearson's r over the pixels."""
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
