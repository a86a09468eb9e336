"""Checks of data sets."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from fusionkit.interfaces import IGNORED, Dataset, Sample
from fusionkit.testing.boxes import FORMAT, better_reading
from fusionkit.testing.subject import Subject, expect

_LOOKED_AT = 3
"""Number of scenes whose images are checked."""

_LABELS_LOOKED_AT = 16
"""Number of scenes whose labels are checked."""

_BORDER = 0.01
"""How far a box may leave the image, relative to its size: labels are rounded."""


def samples(subject: Subject) -> None:
    """Its scenes are images in [0, 1] of all modalities, of one size, with unique names."""
    dataset = subject.build()
    expect(len(dataset) > 0, "it is empty")
    for index in range(min(_LOOKED_AT, len(dataset))):
        sample = dataset[index]
        expect(isinstance(sample, Sample), f"scene {index} is a {type(sample).__name__}, no Sample")
        for modality in subject.modalities:
            expect(
                modality in sample.images,
                f"scene {sample.id!r} has no {modality!r} (it has: {', '.join(sample.images)})",
            )
        shapes = {name: tuple(image.shape) for name, image in sample.images.items()}
        expect(
            len(set(shapes.values())) == 1 and next(iter(shapes.values()))[0] == 1,
            f"scene {sample.id!r}: expected images (1, h, w) of one size, found {shapes}",
        )
        for name, image in sample.images.items():
            expect(image.dtype == torch.float32, f"{sample.id!r}: {name} is {image.dtype}")
            expect(
                bool(image.isfinite().all()) and image.min() >= 0 and image.max() <= 1,
                f"scene {sample.id!r}: {name} has values outside of [0, 1]",
            )
        expect(dataset.id(index) == sample.id, f"id({index}) is not the name of scene {index}")
    ids = [dataset.id(index) for index in range(min(1000, len(dataset)))]
    expect(len(set(ids)) == len(ids), "two scenes have one name")


def labels(subject: Subject) -> None:
    """Masks and boxes, if it has them, fit the image, the classes and each other."""
    dataset = subject.build()
    for index in range(min(_LABELS_LOOKED_AT, len(dataset))):
        sample = dataset[index]
        size = next(iter(sample.images.values())).shape[-2:]
        if sample.mask is not None:
            expect(
                sample.mask.shape == size and sample.mask.dtype == torch.int64,
                f"{sample.id!r}: expected a mask {tuple(size)} of int64, found "
                f"{tuple(sample.mask.shape)} of {sample.mask.dtype}",
            )
            there = set(sample.mask.unique().tolist()) - {IGNORED}
            expect(
                there <= set(range(len(dataset.mask_classes))),
                f"{sample.id!r}: the mask has classes {sorted(there)}, and there are "
                f"{len(dataset.mask_classes)} mask_classes",
            )
        if sample.boxes is not None:
            _check_boxes(sample.id, sample.boxes, len(dataset.box_classes))
    _check_format(dataset)


def _check_boxes(name: str, boxes: Tensor, classes: int) -> None:
    expect(
        boxes.ndim == 2 and boxes.shape[1] == 5,
        f"{name!r}: expected boxes (n, 5), found {tuple(boxes.shape)}",
    )
    kinds, places, sizes = boxes[:, 0], boxes[:, 1:3], boxes[:, 3:]
    expect(
        bool(((boxes[:, 1:] >= 0) & (boxes[:, 1:] <= 1)).all()),
        f"{name!r}: boxes are relative to the image, in [0, 1]",
    )
    expect(bool((sizes > 0).all()), f"{name!r}: a box without area; boxes are {FORMAT}")
    inside = (places - sizes / 2 >= -_BORDER) & (places + sizes / 2 <= 1 + _BORDER)
    expect(bool(inside.all()), f"{name!r}: a box leaves the image; boxes are {FORMAT}")
    expect(bool((kinds == kinds.round()).all()), f"{name!r}: the class of a box is a whole number")
    expect(
        bool(((kinds >= 0) & (kinds < classes)).all()),
        f"{name!r}: a box has a class that is not an index of box_classes",
    )


def _check_format(dataset: Dataset) -> None:
    """Raise AssertionError if boxes fit the mask of their class in another format only."""
    pairs = []
    for index in range(min(_LABELS_LOOKED_AT, len(dataset))):
        sample = dataset[index]
        if sample.mask is None or sample.boxes is None:
            return
        for kind, name in enumerate(dataset.box_classes):
            own = sample.boxes[sample.boxes[:, 0] == kind, 1:]
            if len(own) and name in dataset.mask_classes:
                pairs.append((own, sample.mask == dataset.mask_classes.index(name)))
    other = better_reading(pairs)
    expect(
        other is None,
        f"boxes are {FORMAT}; those of this data set fit its masks better when read as {other}",
    )


def splits(subject: Subject) -> None:
    """Its splits are disjoint indices of its scenes and include ``train`` and ``val``."""
    dataset = subject.build()
    found = {name: list(indices) for name, indices in dataset.splits().items()}
    for name in ("train", "val"):
        expect(name in found, f"splits() has no {name!r} (it has: {', '.join(found)})")
    seen: dict[int, str] = {}
    for name, indices in found.items():
        for index in indices:
            expect(0 <= index < len(dataset), f"the split {name!r} names scene {index}")
            expect(
                index not in seen or seen[index] == name,
                f"scene {index} is in the splits {seen.get(index)!r} and {name!r}",
            )
            seen[index] = name


def repeatable(subject: Subject) -> None:
    """A scene is the same each time it is read, and an index past the end is an IndexError."""
    one, other = subject.build(), subject.build()
    last = len(one) - 1
    for index in {0, last}:
        a, b = one[index], other[index]
        for name in a.images:
            expect(
                torch.equal(a.images[name], b.images[name]),
                f"read twice, scene {index} differs in {name!r}",
            )
    try:
        one[len(one)]
    except IndexError:
        return
    raise AssertionError(f"it has {len(one)} scenes, and [{len(one)}] raises no IndexError")


CHECKS: tuple[Callable[[Subject], None], ...] = (samples, labels, splits, repeatable)
