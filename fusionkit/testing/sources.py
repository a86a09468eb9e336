"""Checks of data sets and stages."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import torch

from fusionkit.config.run_config import RunConfig
from fusionkit.interfaces import IGNORED, Sample, Stage
from fusionkit.testing.subject import Subject, expect

_LOOKED_AT = 3
"""Scenes of a data set that are read."""


def samples(subject: Subject) -> None:
    """Its scenes are registered images in [0, 1] of the modalities, under names of their own."""
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
    """Masks and boxes, where it has them, fit the image and its classes."""
    dataset = subject.build()
    for index in range(min(_LOOKED_AT, len(dataset))):
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
            expect(
                sample.boxes.ndim == 2 and sample.boxes.shape[1] == 5,
                f"{sample.id!r}: expected boxes (n, 5), found {tuple(sample.boxes.shape)}",
            )
            expect(
                bool(((sample.boxes[:, 1:] >= 0) & (sample.boxes[:, 1:] <= 1)).all()),
                f"{sample.id!r}: boxes are relative to the image, in [0, 1]",
            )
            expect(
                bool((sample.boxes[:, 0] < len(dataset.box_classes)).all()),
                f"{sample.id!r}: a box of a class that box_classes does not have",
            )


def splits(subject: Subject) -> None:
    """Its splits are disjoint indices of its scenes, ``train`` and ``val`` among them."""
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
    """A scene is the same whenever it is read, and there is an end."""
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


def stage(subject: Subject) -> None:
    """What it is blind to are keys of the configuration, and ``run`` takes the run alone."""
    cls = subject.cls
    assert issubclass(cls, Stage)
    for key in cls.ignores:
        expect(
            key in RunConfig.model_fields,
            f"ignores names {key!r}, which is no key of the configuration",
        )
    expect(
        len(inspect.signature(cls.run).parameters) == 2,
        "run must take the run and nothing else",
    )


DATASET_CHECKS: tuple[Callable[[Subject], None], ...] = (samples, labels, splits, repeatable)
STAGE_CHECKS: tuple[Callable[[Subject], None], ...] = (stage,)
