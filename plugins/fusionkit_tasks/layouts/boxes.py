"""Detection data sets: ``msrs-detection``, ``m3fd`` and ``llvip``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from torch import Tensor

from fusionkit.errors import FusionkitError
from fusionkit.io.data_folder import find_data
from fusionkit_tasks.layouts.labelled import LabelledFolders, LabelledPair, Limit, labelled_pairs
from fusionkit_tasks.layouts.labels import read_voc, read_yolo


class MsrsDetection(LabelledFolders):
    """Pairs of MSRS with boxes in YOLO's format, split into ``train`` and ``test``.

    Args:
        root: Folder with ``train`` and ``test``, each with ``ir``, ``vi`` and the label folders.
        labels: Label folder: ``det`` for the objects that are visible in fused images, ``det_ir``
            and ``det_vi`` for those that are visible in one source.
        limit: Largest number of scenes of each split, evenly spread over the names.
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

    def check(self, scene: LabelledPair) -> None:
        """Raise FusionkitError if a line is no valid box."""
        read_yolo(scene.label, self.box_classes)

    def labels(self, scene: LabelledPair) -> tuple[Tensor | None, Tensor | None]:
        """Return the boxes."""
        return None, read_yolo(scene.label, self.box_classes)


class _Voc(LabelledFolders):
    role = "boxes"

    def check(self, scene: LabelledPair) -> None:
        """Raise FusionkitError if an object is no valid box of a known class."""
        read_voc(scene.label, self.box_classes, scene.pair.size)

    def labels(self, scene: LabelledPair) -> tuple[Tensor | None, Tensor | None]:
        """Return the boxes."""
        return None, read_voc(scene.label, self.box_classes, scene.pair.size)


class M3fd(_Voc):
    """M3FD: varied outdoor scenes with boxes of six classes (Liu et al., TarDAL, CVPR 2022).

    No split was published. Here each block of twenty scenes, in the order of their names, gives
    16 scenes to ``train``, 2 to ``val`` and 2 to ``test``, so that most neighbouring frames stay
    together. A manifest made by ``fusionkit split`` groups similar frames.

    Args:
        root: Folder with ``Ir``, ``Vis`` and ``Annotation`` (VOC XML). By default ``M3FD`` below
            the folder of the data sets (``FUSIONKIT_DATA``).
        limit: Largest number of scenes of each split, evenly spread over the names.
    """

    name = "m3fd"
    box_classes = ("People", "Car", "Bus", "Lamp", "Motorcycle", "Truck")

    def __init__(self, root: Path | None = None, limit: Limit | None = None):
        root = find_data("M3FD", root)
        folders = {"infrared": root / "Ir", "visible": root / "Vis"}
        scenes = labelled_pairs(folders, root / "Annotation", ".xml", "train")
        block = ["train"] * 16 + ["val"] * 2 + ["test"] * 2
        scenes = [LabelledPair(s.pair, s.label, block[k % 20]) for k, s in enumerate(scenes)]
        super().__init__(scenes, limit)


class Llvip(_Voc):
    """LLVIP: streets at night with boxes of persons (Jia et al., ICCV Workshops 2021).

    Args:
        root: Folder with ``infrared/{train,test}``, ``visible/{train,test}`` and ``Annotations``
            (VOC XML). By default ``LLVIP`` below the folder of the data sets (``FUSIONKIT_DATA``).
        limit: Largest number of scenes of each split, evenly spread over the names.
    """

    name = "llvip"
    box_classes = ("person",)

    def __init__(self, root: Path | None = None, limit: Limit | None = None):
        root = find_data("LLVIP", root)
        splits = [s for s in ("train", "val", "test") if (root / "infrared" / s).is_dir()]
        if not splits:
            raise FusionkitError(
                f"{root} has neither infrared/train nor infrared/test; docs/datasets.md shows the "
                f"expected layout"
            )
        scenes = []
        for split in splits:
            folders = {m: root / m / split for m in ("infrared", "visible")}
            scenes += labelled_pairs(folders, root / "Annotations", ".xml", split)
        super().__init__(scenes, limit)

    def group(self, index: int) -> str | None:
        """Return the camera position, which the first two digits of the name encode."""
        return f"camera {self.id(index)[:2]}"
