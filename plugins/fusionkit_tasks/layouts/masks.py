"""Segmentation data sets: ``msrs``, ``fmb`` and ``mfnet``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from fusionkit.errors import FusionkitError
from fusionkit.inference.preprocessing import to_sample
from fusionkit.interfaces import Sample
from fusionkit.io.data_folder import find_data
from fusionkit.io.images import open_image
from fusionkit.io.pairs import Pair
from fusionkit_tasks.layouts.labelled import LabelledFolders, LabelledPair, Limit, labelled_pairs
from fusionkit_tasks.layouts.labels import check_mask, read_mask


class _Masks(LabelledFolders):
    role = "mask"

    def check(self, scene: LabelledPair) -> None:
        """Raise FusionkitError if the mask and its images differ in size."""
        check_mask(scene.label, scene.pair.size)

    def labels(self, scene: LabelledPair) -> tuple[Tensor | None, Tensor | None]:
        """Return the mask."""
        return read_mask(scene.label, len(self.mask_classes)), None


class Msrs(_Masks):
    """MSRS: road scenes with masks of nine classes (Tang et al., PIAFusion, 2022).

    Args:
        root: Folder with ``train`` and ``test``, each with ``ir``, ``vi`` and
            ``Segmentation_labels``; or a folder that holds these three, which is then the split
            ``test``. By default ``MSRS`` below the folder of the data sets (``FUSIONKIT_DATA``).
        limit: Largest number of scenes of each split, evenly spread over the names.
    """

    name = "msrs"
    mask_classes = (
        "Unlabelled",
        "Car",
        "Person",
        "Bike",
        "Curve",
        "CarStop",
        "Guardrail",
        "Cone",
        "Bump",
    )

    def __init__(self, root: Path | None = None, limit: Limit | None = None):
        super().__init__(
            _by_split(find_data("MSRS", root), ("ir", "vi", "Segmentation_labels")), limit
        )


class Fmb(_Masks):
    """FMB: urban scenes with masks of fourteen classes (Liu et al., SegMiF, ICCV 2023).

    Args:
        root: Folder with ``train`` and ``test``, each with ``Infrared``, ``Visible`` and ``Label``.
            By default ``FMB`` below the folder of the data sets (``FUSIONKIT_DATA``).
        limit: Largest number of scenes of each split, evenly spread over the names.
    """

    name = "fmb"
    mask_classes = (
        "Unlabelled",
        "Road",
        "Sidewalk",
        "Building",
        "Traffic Lamp",
        "Traffic Sign",
        "Vegetation",
        "Sky",
        "Person",
        "Car",
        "Truck",
        "Bus",
        "Motorcycle",
        "Bicycle",
        "Pole",
    )

    def __init__(self, root: Path | None = None, limit: Limit | None = None):
        super().__init__(_by_split(find_data("FMB", root), ("Infrared", "Visible", "Label")), limit)


class Mfnet(_Masks):
    """MFNet: road scenes by day and night with masks of nine classes (Ha et al., IROS 2017).

    A file holds both images of a scene: the first three channels are visible, the fourth infrared.
    Mirrored copies (names that end in ``_flip``) are left out.

    Args:
        root: Folder with ``images``, ``labels`` and the names of each split in ``train.txt``,
            ``val.txt`` and ``test.txt``. By default ``MFNet`` below the folder of the data sets
            (``FUSIONKIT_DATA``).
        limit: Largest number of scenes of each split, evenly spread over the names.
    """

    name = "mfnet"
    mask_classes = Msrs.mask_classes

    def __init__(self, root: Path | None = None, limit: Limit | None = None):
        root = find_data("MFNet", root)
        scenes = []
        for split in ("train", "val", "test"):
            for stem in _names(root / f"{split}.txt"):
                image = open_image(root / "images" / f"{stem}.png")
                label = root / "labels" / f"{stem}.png"
                scenes.append(LabelledPair(Pair(stem, {"visible": image}), label, split))
        super().__init__(scenes, limit)

    def __getitem__(self, index: int) -> Sample:
        """Return a whole scene with its mask.

        Raises:
            IndexError: past the last scene.
            FusionkitError: if the image has no fourth channel.
        """
        scene = self._scenes[range(len(self))[index]]
        path = scene.pair.paths["visible"]
        try:
            with Image.open(path, formats=("PNG",)) as image:
                if image.mode != "RGBA":
                    raise FusionkitError(f"{path}: expected four channels, found {image.mode}")
                pixels = np.asarray(image)
        except (OSError, SyntaxError) as error:
            raise FusionkitError(f"{path} is damaged: {error}") from None
        images = {"infrared": pixels[..., 3], "visible": pixels[..., :3]}
        return replace(to_sample(scene.pair.id, images), mask=self.labels(scene)[0])

    def files(self, index: int) -> Mapping[str, Path]:
        """Return the image, which is that of both modalities, and the mask."""
        found = super().files(index)
        return {"infrared": found["visible"], **found}


def _names(path: Path) -> list[str]:
    """Return the names of a split, without mirrored copies."""
    try:
        names = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise FusionkitError(
            f"{path}: expected the names of a split, and it can't be read ({error}); "
            f"docs/datasets.md shows the expected layout"
        ) from None
    if wrong := [name for name in names if Path(name).name != name]:
        raise FusionkitError(f"{path}: expected names of scenes, found {wrong[0][:80]!r}")
    return [name for name in names if not name.endswith("_flip")]


def _by_split(root: Path, names: tuple[str, str, str]) -> list[LabelledPair]:
    infrared, visible, labels = names
    splits = [s for s in ("train", "val", "test") if (root / s).is_dir()]
    if not splits and not (root / infrared).is_dir():
        raise FusionkitError(
            f"{root} has neither train/ and test/ nor {infrared}/; docs/datasets.md shows the "
            f"expected layout"
        )
    scenes = []
    for split in splits or ["test"]:
        base = root / split if splits else root
        folders = {"infrared": base / infrared, "visible": base / visible}
        scenes += labelled_pairs(folders, base / labels, ".png", split)
    return scenes
