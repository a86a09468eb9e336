"""Backbone ``saliency``: a Laplacian pyramid whose base is weighted by visual saliency."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from fusionkit.errors import FusionkitError, nearest
from fusionkit.interfaces import Backbone, Images
from fusionkit_classic.pointwise import stack
from fusionkit_classic.pyramid import fuse_details, recompose, upsample


class Saliency(Backbone):
    """Laplacian pyramid fusion whose base is weighted by visual saliency (Zhai and Shah, 2006).

    Details are fused as in ``laplacian-pyramid``. The base I of each source is weighted by its
    saliency V(p) = mean_q |I(p) - I(q)|, the mean difference to all other pixels of the same base
    (the histogram contrast of Zhai and Shah, ACM Multimedia 2006, used for fusion by Ma et al.,
    Infrared Physics and Technology 2017). Averaging the bases would halve the contrast of a hot
    target; weighting keeps it. With m sources, and V and I in [0, 1], the weight of a source is
    1/m + (strength (V - mean V) + brightness (I - mean I)) / 2, clamped to [0, 1]; means are over
    the sources.

    ``brightness`` helps where one source is saturated and another black, as often in the sky. Both
    are salient there, so the fused sky is grey and bright edges get a halo. Elsewhere a preference
    for the brighter base makes the image pale. ``where: conflict`` therefore scales ``brightness``
    by clamp((max I - 0.5) / 0.3) clamp((0.5 - min I) / 0.3), each clamped to [0, 1].

    ``targets`` restores hot targets. They lose brightness if another source has stronger details
    around them, because some levels then come from that source. With e(p) = I(p) - base(p) of the
    source of the targets and t = max(I, fused base + e), the fused image F becomes
    F + clamp((e - 0.05) / 0.15) max(t - F, 0). No pixel gets darker.

    Args:
        levels: Largest number of detail levels; a small image has fewer.
        strength: Factor of the differences in saliency.
        brightness: Factor of the differences in intensity. If ``strength`` and ``brightness`` are
            both 0, the bases are averaged.
        where: Apply ``brightness`` ``everywhere``, or only where bright and dark bases
            ``conflict``.
        targets: Name of the source, such as ``infrared``, whose hot targets keep the contrast to
            their surroundings that they have there.

    Example:
        >>> import torch
        >>> import fusionkit as fk
        >>> backbone = fk.build("backbone", name="saliency", targets="infrared")
        >>> sources = {"infrared": torch.rand(2, 1, 48, 64), "visible": torch.rand(2, 1, 48, 64)}
        >>> tuple(backbone(sources).shape)
        (2, 1, 48, 64)
    """

    name = "saliency"

    def __init__(
        self,
        levels: Annotated[int, Field(ge=1, le=10)] = 4,
        strength: Annotated[float, Field(ge=0)] = 1.0,
        brightness: Annotated[float, Field(ge=0)] = 0.0,
        where: Literal["everywhere", "conflict"] = "everywhere",
        targets: str | None = None,
    ):
        super().__init__()
        self.levels = levels
        self.strength = strength
        self.brightness = brightness
        self.where: Literal["everywhere", "conflict"] = where
        self.targets = targets

    def forward(self, sources: Images) -> Float[Tensor, "b 1 h w"]:
        """Fuse a batch; returns the common image where all sources are equal.

        Raises:
            FusionkitError: if the source named by ``targets`` is missing.
        """
        if self.targets is not None and self.targets not in sources:
            raise FusionkitError(
                f"saliency: expected targets to name one of the sources {', '.join(sources)}, "
                f"found {self.targets!r}" + nearest(self.targets, sources)
            )
        details, base = fuse_details(stack(sources).squeeze(2), self.levels)
        contrast = histogram_contrast(base)
        offset = self.strength * (contrast - contrast.mean(dim=0))
        excess = base - base.mean(dim=0)
        if self.where == "conflict":
            excess = excess * conflict(base)
        offset = offset + self.brightness * excess
        weights = (1 / base.shape[0] + offset / 2).clamp(0, 1)
        fused = (weights * base).sum(dim=0) / weights.sum(dim=0).clamp_min(1e-6)
        image = recompose(details, fused)
        if self.targets is not None:
            source = sources[self.targets].squeeze(1)
            bases = torch.stack([base[list(sources).index(self.targets)], fused])
            for level in reversed(details):
                bases = upsample(bases, (level.shape[-2], level.shape[-1]))
            above = source - bases[0]
            lack = torch.maximum(source, bases[1] + above).sub_(image).clamp_min_(0)
            image = torch.addcmul(image, ((above - 0.05) / 0.15).clamp_(0, 1), lack)
        return image.clamp(0, 1)[:, None]


def conflict(bases: Float[Tensor, "m *b h w"]) -> Float[Tensor, "*b h w"]:
    """Return how strongly the bases contradict each other, in [0, 1].

    1 where one base is above 0.8 and another below 0.2; 0 where all are above 0.5 or all below.

    Example:
        >>> import torch
        >>> conflict(torch.tensor([[0.9, 0.65, 0.9], [0.1, 0.2, 0.6]]).view(2, 1, 1, 1, 3))
        tensor([[[[1.0000, 0.5000, 0.0000]]]])
    """
    bright = ((bases.amax(dim=0) - 0.5) / 0.3).clamp(0, 1)
    dark = ((0.5 - bases.amin(dim=0)) / 0.3).clamp(0, 1)
    return bright * dark


def histogram_contrast(x: Float[Tensor, "*b h w"]) -> Float[Tensor, "*b h w"]:
    """Return mean_q |x(p) - x(q)| of every pixel p, divided by its maximum over the image.

    Example:
        >>> import torch
        >>> histogram_contrast(torch.tensor([[[0.0, 0.0, 0.0, 1.0]]]))
        tensor([[[0.3333, 0.3333, 0.3333, 1.0000]]])
    """
    # With the values sorted, running sums give the summed distances to all smaller and to all
    # larger values, without a loop over pairs of pixels.
    values, order = x.flatten(-2).sort(dim=-1)
    n = values.shape[-1]
    running = values.double().cumsum(dim=-1)
    rank = torch.arange(1, n + 1, device=x.device, dtype=torch.float64)
    below = rank * values - running
    above = (running[..., -1:] - running) - (n - rank) * values
    contrast = ((below + above) / n).to(x.dtype)
    contrast = contrast / contrast.amax(dim=-1, keepdim=True).clamp_min(1e-6)
    return torch.empty_like(contrast).scatter_(-1, order, contrast).view_as(x)
