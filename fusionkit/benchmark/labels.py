"""Checks of labels, whatever data set they come from, before anything is trained on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from fusionkit.errors import FusionkitError
from fusionkit.interfaces import IGNORED, Dataset

__all__ = ["check_labels"]


def check_labels(
    dataset: Dataset, indices: Sequence[int], labels: Literal["masks", "boxes"]
) -> None:
    """Refuse labels that are missing, or that can't be right.

    Raises:
        FusionkitError: names the scene or its label file.
    """
    classes = dataset.mask_classes if labels == "masks" else dataset.box_classes
    if not classes:
        raise FusionkitError(
            f"the data set {type(dataset).name!r} has no {labels}, which the task needs"
        )
    for index in indices:
        sample = dataset[index]
        size = tuple(next(iter(sample.images.values())).shape[-2:])
        role = "mask" if labels == "masks" else "boxes"
        where = dataset.files(index).get(role, f"scene {sample.id}")
        if labels == "masks":
            mask = sample.mask
            if mask is None:
                raise FusionkitError(f"{where}: the label mask is missing")
            if tuple(mask.shape) != size:
                raise FusionkitError(
                    f"{where}: the mask has {mask.shape[0]}x{mask.shape[1]} pixels, its images "
                    f"have {size[0]}x{size[1]}"
                )
            wrong = mask[(mask != IGNORED) & ((mask < 0) | (mask >= len(classes)))]
            if len(wrong):
                raise FusionkitError(
                    f"{where}: the mask has the value {int(wrong[0])}, expected a class from 0 to "
                    f"{len(classes) - 1} or {IGNORED} for none"
                )
            continue
        boxes = sample.boxes
        if boxes is None:
            raise FusionkitError(f"{where}: the label boxes are missing")
        for kind, cx, cy, w, h in boxes.tolist():
            if not (kind.is_integer() and 0 <= kind < len(classes)):
                raise FusionkitError(
                    f"{where}: a box has the class id {kind:g}, expected one from 0 to "
                    f"{len(classes) - 1} ({', '.join(classes)})"
                )
            edges = (cx - w / 2, cy - h / 2, 1 - cx - w / 2, 1 - cy - h / 2)
            if min(w, h) <= 0 or min(edges) < -1e-3:
                raise FusionkitError(
                    f"{where}: the box {cx:g} {cy:g} {w:g} {h:g} (centre, width, height) is "
                    f"outside the image, which reaches from 0 to 1"
                )
