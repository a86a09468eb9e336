"""One scene: the images of its sensors, and its labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from jaxtyping import Float, Int
from torch import Tensor

from fusionkit.errors import FusionkitError

__all__ = ["IGNORED", "Images", "Sample"]

Images = Mapping[str, Tensor]
"""Modality name -> (b, 1, h, w) float32 in [0, 1]. Names prevent swapped sources."""

IGNORED = 255
"""Value of mask pixels without a class. They are neither trained on nor scored."""


@dataclass(frozen=True)
class Sample:
    """One scene as its sensors saw it, or a patch of it.

    Attributes:
        id: Name of the scene, with ``/`` for folders; the file stem for images from a folder.
            Results are files of this name, so it can't lead out of a folder.
        images: Modality name -> (1, h, w) float32 in [0, 1]; luminance for a colour source.
        chroma: (2, h, w) Cb and Cr in [0, 1] (0.5 is neutral) of the colour source, if any.
        colour: Modality of the colour source; without meaning if there is no chroma.
        mask: (h, w) int64 class per pixel, or IGNORED.
        boxes: (n, 5) float32 rows class, cx, cy, width, height, relative to the image in [0, 1].
        latent: Name -> (c, h, w) float32; what only a renderer knows, such as the true scene.
        crop: (top, left) in pixels of a patch in the image ``id``; None for the whole image.
        bits: Bits per channel of the source files, 8 or 16.

    Raises:
        FusionkitError: if the id is no name below a folder.
    """

    id: str
    images: Images
    chroma: Float[Tensor, "2 h w"] | None = None
    colour: str = "visible"
    mask: Int[Tensor, "h w"] | None = None
    boxes: Float[Tensor, "n 5"] | None = None
    latent: Mapping[str, Tensor] = field(default_factory=dict)
    crop: tuple[int, int] | None = None
    bits: int = 8

    def __post_init__(self) -> None:
        """Check the id."""
        path = PurePosixPath(self.id)
        if path.is_absolute() or ".." in path.parts or not path.name or "\0" in self.id:
            raise FusionkitError(
                f"expected the id of a scene to be a name below a folder, found {self.id!r}; "
                f"rename the scene"
            )
