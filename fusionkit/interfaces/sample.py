"""One scene: the images of its sensors, and its labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["IGNORED", "Images", "Sample"]

Images = Mapping[str, Tensor]
"""Modality name -> (b, 1, h, w) float32 in [0, 1]. Names, so that sources can't be swapped."""

IGNORED = 255
"""Value of mask pixels that belong to no class: neither learned nor scored."""


@dataclass(frozen=True)
class Sample:
    """One scene as its sensors saw it; whole, or a patch cut out of it.

    Attributes:
        id: Name of the scene; file stem for images from a folder.
        images: Modality name -> (1, h, w) float32 in [0, 1]; luminance for a colour source.
        chroma: (2, h, w) Cb and Cr in [0, 1] (0.5 is neutral) of the colour source, if any.
        mask: (h, w) int64 class per pixel, or IGNORED.
        boxes: (n, 5) float32 rows class, cx, cy, width, height, relative to the image in [0, 1].
        latent: Name -> (c, h, w) float32, what only a renderer knows (the true scene).
        crop: (top, left) of a patch in the image named ``id``; ``None`` for the whole image.
        bits: Bits per channel of the files it came from (8 or 16).
    """

    id: str
    images: Images
    chroma: Float[Tensor, "2 h w"] | None = None
    mask: Int[Tensor, "h w"] | None = None
    boxes: Float[Tensor, "n 5"] | None = None
    latent: Mapping[str, Tensor] = field(default_factory=dict)
    crop: tuple[int, int] | None = None
    bits: int = 8
