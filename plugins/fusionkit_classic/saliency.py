"""Laplacian pyramid whose base is weighted by visual saliency."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from fusionkit.errors import FusionkitError, nearest
from fusionkit.interfaces import Backbone, Images
from fusionkit_classic.pointwise import stack
from fusionkit_classic.pyramid import decompose, most_active, recompose


class Saliency(Backbone):
    """Strongest detail at each scale; the base from the source that stands out there.

    A pixel of a base stands out as far as it differs from all others of its image (the histogram
    contrast of Zhai and Shah, 2006, which Ma et al., 2017, fuse by): V(p) = mean_q |I(p) - I(q)|.
    Averaging bases halves the contrast of a hot target; weighting keeps it. Each of m sources has
    the weight 1/m + (strength (V - mean V) + brightness (I - mean I)) / 2, V and I in 0 .. 1, kept
    within 0 .. 1. Where one source is burnt out and the other black, as the sky often is, both
    stand out; the halo of bright edges against a half-bright sky goes where brightness decides.
    Elsewhere the brighter base only makes the image pale, hence ``where: conflict``, which scales
    brightness by clamp((max I - 0.5) / 0.3) clamp((0.5 - min I) / 0.3), clamped to 0 .. 1.

    Details are taken level by level, so that a hot target whose surroundings have strong details in
    another source gets some levels from there and loses brightness. ``targets`` gives it back: with
    e(p) = I(p) - base(p) of that source and t = max(I, fused base + e), the fused image F becomes
    F + clamp((e - 0.05) / 0.15) max(t - F, 0). It is never darkened.

    Args:
        levels: Number of detail levels; fewer where the image has not that many.
        strength: Factor of the differences of saliency.
        brightness: Factor of the differences of intensity; with both 0 the bases are averaged.
        where: Brightness counts ``everywhere``, or only where a bright and a dark base conflict.
        targets: The source, ``infrared`` for example, whose hot targets stand out from their
            surroundings as much as they do there.
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
        """Fuse; sources that are equal come back.

        Raises:
            FusionkitError: if the source of ``targets`` is missing.
        """
        if self.targets is not None and self.targets not in sources:
            raise FusionkitError(
                f"saliency: targets is {self.targets!r}, which is none of the sources "
                f"{', '.join(sources)}" + nearest(self.targets, sources)
            )
        details, base = decompose(stack(sources), self.levels)
        contrast = histogram_contrast(base)
        offset = self.strength * (contrast - contrast.mean(dim=0))
        brighter = base - base.mean(dim=0)
        if self.where == "conflict":
            brighter = brighter * conflict(base)
        offset = offset + self.brightness * brighter
        weights = (1 / base.shape[0] + offset / 2).clamp(0, 1)
        fused = (weights * base).sum(dim=0) / weights.sum(dim=0).clamp_min(1e-6)
        image = recompose([most_active(level) for level in details], fused)
        if self.targets is not None:
            source = sources[self.targets]
            flat = [torch.zeros_like(level[0]) for level in details]
            above = source - recompose(flat, base[list(sources).index(self.targets)])
            target = torch.maximum(source, recompose(flat, fused) + above)
            image = image + ((above - 0.05) / 0.15).clamp(0, 1) * (target - image).clamp_min(0)
        return image.clamp(0, 1)


def conflict(bases: Float[Tensor, "m b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
    """Return 1 where one base is above 0.8 and another below 0.2, 0 where all are on one side."""
    bright = ((bases.amax(dim=0) - 0.5) / 0.3).clamp(0, 1)
    dark = ((0.5 - bases.amin(dim=0)) / 0.3).clamp(0, 1)
    return bright * dark


def histogram_contrast(x: Float[Tensor, "*b h w"]) -> Float[Tensor, "*b h w"]:
    """Return mean_q |x(p) - x(q)| for every pixel p, scaled so that its largest value is 1.

    Sorting makes it linear: with the values in order, the sum of the distances to all smaller ones
    and to all larger ones comes from running sums.
    """
    values, order = x.flatten(-2).sort(dim=-1)
    n = values.shape[-1]
    running = values.double().cumsum(dim=-1)
    rank = torch.arange(1, n + 1, device=x.device, dtype=torch.float64)
    below = rank * values - running
    above = (running[..., -1:] - running) - (n - rank) * values
    contrast = ((below + above) / n).to(x.dtype)
    contrast = contrast / contrast.amax(dim=-1, keepdim=True).clamp_min(1e-6)
    return torch.empty_like(contrast).scatter_(-1, order, contrast).view_as(x)
