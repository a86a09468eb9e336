"""Checks the labels of any data set before anything is trained on them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from fusionkit.errors import FusionkitError
from fusionkit.interfaces import IGNORED, Dataset, Sample

__all__ = ["check_labels"]

_TOLERANCE = 1e-3
"""How far a box may extend beyond the image, relative to its size: labelling tools round."""


def check_labels(
    dataset: Dataset, indices: Sequence[int], labels: Literal["masks", "boxes"]
) -> None:
    """Check that the labels of scenes exist and are valid.

    Args:
        dataset: The data set.
        indices: Indices of the scenes.
        labels: Which labels to check.

    Raises:
        FusionkitError: for the first label that is missing or invalid; names its file, or the
            scene if it comes from no file.
    """
    classes = dataset.mask_classes if labels == "masks" else dataset.box_classes
    if not classes:
        raise FusionkitError(
            f"the data set {type(dataset).name!r} has no {labels}, which the task needs"
        )
    for index in indices:
        sample = dataset[index]
        if labels == "masks":
            where = dataset.files(index).get("mask", f"scene {sample.id}")
            _check_mask(sample, classes, where)
        else:
            where = dataset.files(index).get("boxes", f"scene {sample.id}")
            _check_boxes(sample, classes, where)


def _check_mask(sample: Sample, classes: Sequence[str], where: Path | str) -> None:
    mask = sample.mask
    if mask is None:
        raise FusionkitError(f"{where}: the label mask is missing")
    height, width = next(iter(sample.images.values())).shape[-2:]
    if tuple(mask.shape) != (height, width):
        raise FusionkitError(
            f"{where}: the mask has {mask.shape[0]}x{mask.shape[1]} pixels, its images have "
            f"{height}x{width}"
        )
    wrong = mask[(mask != IGNORED) & ((mask < 0) | (mask >= len(classes)))]
    if len(wrong):
        raise FusionkitError(
            f"{where}: the mask has the value {int(wrong[0])}, expected a class from 0 to "
            f"{len(classes) - 1}, or {IGNORED} for pixels without a class"
        )


def _check_boxes(sample: Sample, classes: Sequence[str], where: Path | str) -> None:
    boxes = sample.boxes
    if boxes is None:
        raise FusionkitError(f"{where}: the label boxes are missing")
    for kind, cx, cy, w, h in boxes.tolist():
        if not (kind.is_integer() and 0 <= kind < len(classes)):
            raise FusionkitError(
                f"{where}: a box has the class id {kind:g}, expected one from 0 to "
                f"{len(classes) - 1} ({', '.join(classes)})"
            )
        margins = (cx - w / 2, cy - h / 2, 1 - cx - w / 2, 1 - cy - h / 2)
        if min(w, h) <= 0 or min(margins) < -_TOLERANCE:
            raise FusionkitError(
                f"{where}: the box {cx:g} {cy:g} {w:g} {h:g} (centre, width, height) is not "
                f"inside the image, which spans 0 to 1"
            )
