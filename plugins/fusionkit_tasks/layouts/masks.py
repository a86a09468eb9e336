"""Segmentation data sets: ``msrs`` and ``fmb``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field
from torch import Tensor

from fusionkit.errors import FusionkitError
from fusionkit_tasks.layouts.labelled import Labelled, LabelledFolders, labelled_pairs
from fusionkit_tasks.layouts.labels import check_mask, read_mask


class _Masks(LabelledFolders):
    role = "mask"

    def check(self, scene: Labelled) -> None:
        """The mask must have the size of its images."""
        check_mask(scene.label, scene.pair.size)

    def labels(self, scene: Labelled) -> tuple[Tensor | None, Tensor | None]:
        """Return the mask."""
        return read_mask(scene.label, len(self.mask_classes)), None


class Msrs(_Masks):
    """MSRS: road scenes with masks of nine classes (Tang et al., PIAFusion, 2022).

    Args:
        root: Folder with ``train`` and ``test``, each with ``ir``, ``vi`` and
            ``Segmentation_labels``; or with these three alone, which are then the split ``test``.
        limit: At most that many scenes of each split, evenly spread over the names.
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
        limit: At most that many scenes of each split, evenly spread over the names.
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


def _by_split(root: Path, names: tuple[str, str, str]) -> list[Labelled]:
    infrared, visible, labels = names
    there = [s for s in ("train", "val", "test") if (root / s).is_dir()]
    if not there and not (root / infrared).is_dir():
        raise FusionkitError(
            f"{root} has neither train/ and test/ nor {infrared}/; docs/datasets.md shows the "
            f"layout that is expected"
        )
    scenes = []
    for split in there or ["test"]:
        base = root / split if there else root
        folders = {"infrared": base / infrared, "visible": base / visible}
        scenes += labelled_pairs(folders, base / labels, ".png", split)
    return scenes
