"""Results made elsewhere, by file name."""

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
    """Looks fused images up in a folder, by the file stem of the scene.

    Any program's results can so be a teacher, or a method in a comparison. Of a colour image the
    luminance counts.

    Args:
        root: The folder.
    """

    name = "folder"
    refuses: ClassVar = {"build": "it reads the results of another program"}

    def __init__(self, root: Path):
        super().__init__()
        self.root = Path(root)
        self._files = list_images(self.root)

    def forward(self, sources: Images) -> Float[Tensor, "b 1 h w"]:
        """Not to be had: pixels alone don't say which file is meant."""
        raise FusionkitError(
            f"the backbone 'folder' ({self.root}) finds results by file name and can't fuse "
            f"images that have none; it can't be trained with either"
        )

    def fuse(self, sample: Sample) -> Float[Tensor, "1 h w"]:
        """Return the file of that name, cut where the sample was cut.

        Raises:
            FusionkitError: if there is none, it is damaged, or has another size than the scene.
        """
        if sample.id not in self._files:
            raise FusionkitError(
                f"the folder {self.root} has no result for {sample.id!r} "
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
