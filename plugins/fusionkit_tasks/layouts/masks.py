"""Segmentation data sets: ``msrs`` and ``fmb``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field
from torch import Tensor

from fusionkit.errors import FusionkitError
from fusionkit_tasks.layouts.labelled import LabelledFolders, LabelledPair, labelled_pairs
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
            ``test``.
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

    def __init__(self, root: Path, limit: Annotated[int, Field(ge=1)] | None = None):
        super().__init__(_by_split(Path(root), ("ir", "vi", "Segmentation_labels")), limit)


class Fmb(_Masks):
    """FMB: urban scenes with masks of fourteen classes (Liu et al., SegMiF, ICCV 2023).

    Args:
        root: Folder with ``train`` and ``test``, each with ``Infrared``, ``Visible`` and ``Label``.
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

    def __init__(self, root: Path, limit: Annotated[int, Field(ge=1)] | None = None):
        super().__init__(_by_split(Path(root), ("Infrared", "Visible", "Label")), limit)


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
