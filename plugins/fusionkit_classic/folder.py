"""Backbone ``folder``: fused images that another program has written."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from fusionkit.errors import FusionkitError
from fusionkit.functional.colour import channels_first, luminance
from fusionkit.interfaces import Backbone, Images, Sample
from fusionkit.io.images import list_images, read_image, to_float


class Folder(Backbone):
    """Reads fused images from a folder, by the name of the scene.

    Lets results of any program act as a teacher, or as a method in a comparison. The image of a
    scene is the file with the same stem. Only the luminance of a colour image is used.

    Args:
        root: Path of the folder.

    Raises:
        FusionkitError: if the folder does not exist, or two of its images have the same stem.

    Example:
        >>> import tempfile
        >>> import numpy as np, torch
        >>> from PIL import Image
        >>> import fusionkit as fk
        >>> from fusionkit.interfaces import Sample
        >>> sources = {"infrared": torch.zeros(1, 4, 6), "visible": torch.zeros(1, 4, 6)}
        >>> with tempfile.TemporaryDirectory() as root:
        ...     Image.fromarray(np.full((4, 6), 255, np.uint8)).save(f"{root}/00017.png")
        ...     backbone = fk.build("backbone", name="folder", root=root)
        ...     fused = backbone.fuse(Sample("00017", sources))
        >>> tuple(fused.shape), fused.mean().item()
        ((1, 4, 6), 1.0)
    """

    name = "folder"
    refuses: ClassVar = {"build": "it reads the results of another program"}

    def __init__(self, root: Path):
        super().__init__()
        self.root = Path(root)
        self._files = list_images(self.root)

    def forward(self, sources: Images) -> Float[Tensor, "b 1 h w"]:
        """Raise FusionkitError: the pixels alone do not tell which file to read."""
        raise FusionkitError(
            f"the backbone 'folder' ({self.root}) finds fused images by file name; it cannot fuse "
            f"images without a name, and it cannot be trained"
        )

    def fuse(self, sample: Sample) -> Float[Tensor, "1 h w"]:
        """Return the fused image of this scene, cropped like the sample.

        Raises:
            FusionkitError: if the folder has no image of that name, or the image cannot be read or
                differs from the scene in size.
        """
        if sample.id not in self._files:
            raise FusionkitError(
                f"the folder {self.root} has no fused image for {sample.id!r} "
                f"(it has {len(self._files)} images)"
            )
        path = self._files[sample.id]
        fused = luminance(channels_first(to_float(read_image(path))))
        h, w = next(iter(sample.images.values())).shape[-2:]
        if sample.crop is not None:
            top, left = sample.crop
            fused = fused[:, top : top + h, left : left + w]
        if fused.shape[-2:] != (h, w):
            raise FusionkitError(
                f"{path} does not fit its scene: expected {h}x{w} pixels"
                + (f" at {sample.crop}" if sample.crop else "")
                + f", found {fused.shape[-2]}x{fused.shape[-1]}"
            )
        return fused
