"""Detection data sets: ``msrs-detection``, ``m3fd`` and ``llvip``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from fusionkit.errors import FusionkitError
from fusionkit_tasks.layouts.labelled import Labelled, LabelledFolders, labelled_pairs
from fusionkit_tasks.layouts.labels import read_voc, read_yolo

Limit = Annotated[int, Field(ge=1)]


class MsrsDetection(LabelledFolders):
    """Pairs of MSRS with boxes in YOLO's format, split into ``train`` and ``test``.

    Args:
        root: Folder with ``train`` and ``test``, each with ``ir``, ``vi`` and the label folders.
        labels: Label folder: ``det`` has what is seen in fused images, ``det_ir`` and ``det_vi``
            what is seen in one of the sources.
        limit: At most that many scenes of each split, evenly spread over the names.
    """

    name = "msrs-detection"
    role = "boxes"
    box_classes = ("person", "bicycle", "car")

    def __init__(
        self,
        root: Path,
        labels: Literal["det", "det_ir", "det_vi"] = "det",
        limit: Limit | None = None,
    ):
        root = Path(root)
        scenes = []
        for split in ("train", "test"):
            base = root / split
            folders = {"infrared": base / "ir", "visible": base / "vi"}
            scenes += labelled_pairs(folders, base / labels, ".txt", split)
        super().__init__(scenes, limit)

    def check(self, scene: Labelled) -> None:
        """Every line must be a box."""
        read_yolo(scene.label, self.box_classes)

    def labels(self, scene: Labelled) -> tuple[Tensor | None, Tensor | None]:
        """Return the boxes."""
        return None, read_yolo(scene.label, self.box_classes)


class _Voc(LabelledFolders):
    role = "boxes"

    def check(self, scene: Labelled) -> None:
        """Every object must be a box of a known class."""
        read_voc(scene.label, self.box_classes, scene.pair.size)

    def labels(self, scene: Labelled) -> tuple[Tensor | None, Tensor | None]:
        """Return the boxes."""
        return None, read_voc(scene.label, self.box_classes, scene.pair.size)


class M3fd(_Voc):
    """M3FD: scenes of several kinds with boxes of six classes (Liu et al., TarDAL, CVPR 2022).

    No split was published. ``train``, ``val`` and ``test`` are 8:1:1 in blocks of names of twenty
    scenes, of which 16, 2 and 2, so that neighbouring frames mostly stay together; a manifest
    (``fusionkit split``) groups by likeness.

    Args:
        root: Folder with ``Ir``, ``Vis`` and ``Annotation`` (VOC XML).
        limit: At most that many scenes of each split, evenly spread over the names.
    """

    name = "m3fd"
    box_classes = ("People", "Car", "Bus", "Lamp", "Motorcycle", "Truck")

    def __init__(self, root: Path, limit: Limit | None = None):
        root = Path(root)
        folders = {"infrared": root / "Ir", "visible": root / "Vis"}
        scenes = labelled_pairs(folders, root / "Annotation", ".xml", "train")
        sides = ["train"] * 16 + ["val"] * 2 + ["test"] * 2
        scenes = [Labelled(s.pair, s.label, sides[k % 20]) for k, s in enumerate(scenes)]
        super().__init__(scenes, limit)


class Llvip(_Voc):
    """LLVIP: streets at night with boxes of persons (Jia et al., ICCV Workshops 2021).

    Args:
        root: Folder with ``infrared/{train,test}``, ``visible/{train,test}`` and ``Annotations``
            (VOC XML).
        limit: At most that many scenes of each split, evenly spread over the names.
    """

    name = "llvip"
    box_classes = ("person",)

    def __init__(self, root: Path, limit: Limit | None = None):
        root = Path(root)
        there = [s for s in ("train", "val", "test") if (root / "infrared" / s).is_dir()]
        if not there:
            raise FusionkitError(
                f"{root} has no infrared/train or infrared/test; docs/datasets.md shows the layout"
            )
        scenes = []
        for split in there:
            folders = {m: root / m / split for m in ("infrared", "visible")}
            scenes += labelled_pairs(folders, root / "Annotations", ".xml", split)
        super().__init__(scenes, limit)

    def group(self, index: int) -> str | None:
        """Return the camera position: the first two digits of the name."""
        return f"camera {self.id(index)[:2]}"
