"""Checks of tasks: the format of results, and made-up scenes whose right answer is known."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from fusionkit.interfaces import Sample, Task, TaskContext, TaskResult
from fusionkit.testing.boxes import FORMAT, READINGS, WRITINGS, better_reading, raster
from fusionkit.testing.subject import NotApplicable, Subject, expect

__all__ = ["CHECKS"]

_SIZE = (64, 96)
_CLASSES = ("ground", "thing")
_CONFIDENT = 0.25


def task_scores(subject: Subject) -> None:
    """It fits and scores small scenes: finite scores, and results for each scene by its id."""
    before = torch.random.get_rng_state()
    test = _scenes(subject, 4, first=100)
    with _fitted(subject, seed=0) as task:
        result = task.score(test)
    expect(
        torch.equal(before, torch.random.get_rng_state()),
        "it changes the state of the global random generator; wrap training in "
        "torch.random.fork_rng",
    )
    expect(bool(result.scores), "it returns no score")
    for name, value in result.scores.items():
        expect(math.isfinite(value), f"its score {name!r} is {value}")
    ids = {sample.id for sample in test}
    for name, found in result.per_image.items():
        expect(name in result.scores, f"per_image has {name!r}, which is not among the scores")
        expect(
            set(found) == ids,
            f"per_image[{name!r}] must have a value for each test scene: expected {sorted(ids)}, "
            f"found {sorted(found)}",
        )
    for name, prediction in result.predictions.items():
        expect(name in ids, f"it predicts for {name!r}, which is not a test scene")
        if prediction.is_floating_point():
            _check_boxes(name, prediction)
        else:
            _check_mask(name, prediction)
    _check_format(result, test)


def task_answers(subject: Subject) -> None:
    """Its scores are better for right labels than for wrong ones, and for images that show them."""
    test = _scenes(subject, 4, first=100)
    labels = subject.cls.labels  # type: ignore[attr-defined]
    with _fitted(subject, seed=0) as task:
        right = task.score(test)
        blank = task.score([_without_content(sample) for sample in test])
        moved = task.score([_moved(sample) for sample in test]) if labels else right
        formats = _scores_in_formats(task, test) if labels == "boxes" else {}
    others = [blank, moved, *formats.values()]
    if task.trains and all(other.scores == right.scores for other in others):
        raise NotApplicable("what its `example` trains finds nothing, so its scores say nothing")
    for name, other in formats.items():
        expect(
            _gain(task, right, other) >= 0,
            f"boxes are {FORMAT}, but its scores {dict(right.scores)} are better with labels as "
            f"{name}: {dict(other.scores)}",
        )
    if labels:
        expect(
            _gain(task, right, moved) > 0,
            f"with right labels it scores {dict(right.scores)} and with labels in the wrong place "
            f"{dict(moved.scores)}; the first must be better. Boxes are {FORMAT}, relative to the "
            f"image; scores that are better when lower belong in lower_is_better",
        )
    expect(
        _gain(task, right, blank) > 0,
        f"it scores {dict(right.scores)} and, if the fused image does not show the scene, "
        f"{dict(blank.scores)}; the first must be better. A task judges sample.images['fused']; "
        f"scores that are better when lower belong in lower_is_better",
    )


def task_seed(subject: Subject) -> None:
    """The same seed gives the same scores."""
    found = []
    for _ in range(2):
        with _fitted(subject, seed=1) as task:
            found.append(dict(task.score(_scenes(subject, 4, first=100)).scores))
    expect(found[0] == found[1], f"with one seed it scores {found[0]} and then {found[1]}")


def _scenes(subject: Subject, count: int, first: int) -> list[Sample]:
    """Return dim scenes, each with a bright oblong that mask and box mark."""
    return [_scene(subject, index) for index in range(first, first + count)]


def _scene(subject: Subject, index: int) -> Sample:
    generator = torch.Generator().manual_seed(index)
    cx, cy, w, h = (
        torch.tensor([0.3, 0.3, 0.15, 0.25])
        + torch.tensor([0.4, 0.4, 0.15, 0.15]) * torch.rand(4, generator=generator)
    ).tolist()
    box = torch.tensor([[0.0, cx, cy, w, h]])
    mask = _mask(box)
    image = 0.2 + 0.05 * torch.rand(1, *_SIZE, generator=generator) + 0.6 * mask
    images = {**dict.fromkeys(subject.modalities, image), "fused": image}
    return Sample(f"scene {index}", images, mask=mask.long(), boxes=box)


def _mask(box: Tensor) -> Tensor:
    return raster(READINGS[FORMAT](box[:, 1:]), _SIZE)


def _moved(sample: Sample) -> Sample:
    """Return the sample with its labels in the opposite corner."""
    assert sample.boxes is not None
    box = sample.boxes.clone()
    for place, side in ((1, 3), (2, 4)):
        near = box[0, side] / 2 + 0.02
        box[0, place] = 1 - near if box[0, place] < 0.5 else near
    return replace(sample, boxes=box, mask=_mask(box).long())


def _without_content(sample: Sample) -> Sample:
    """Return the sample with a fused image that shows nothing."""
    noise = torch.rand(1, *_SIZE, generator=torch.Generator().manual_seed(0))
    return replace(sample, images={**sample.images, "fused": 0.2 + 0.05 * noise})


def _scores_in_formats(task: Task, test: Sequence[Sample]) -> dict[str, TaskResult]:
    """Return what the task scores with labels in formats that are not fusionkit's."""
    found = {}
    for name, write in WRITINGS.items():
        samples = []
        for sample in test:
            assert sample.boxes is not None
            boxes = torch.cat([sample.boxes[:, :1], write(sample.boxes[:, 1:])], dim=1)
            samples.append(replace(sample, boxes=boxes))
        try:
            found[name] = task.score(samples)
        except Exception:  # labels in another format may well be an error
            continue
    return found


def _gain(task: Task, one: TaskResult, other: TaskResult) -> int:
    """Return how many more scores are better than worse, in the first result than in the other."""
    gain = 0
    for name in one.scores.keys() & other.scores.keys():
        difference = one.scores[name] - other.scores[name]
        sign = (difference > 0) - (difference < 0)
        gain += -sign if name in task.lower_is_better else sign
    return gain


def _check_boxes(name: str, boxes: Tensor) -> None:
    expect(
        boxes.ndim == 2 and boxes.shape[1] == 6,
        f"predictions of {name!r}: expected boxes (n, 6), found {tuple(boxes.shape)}",
    )
    classes, places, confidences = boxes[:, 0], boxes[:, 1:5], boxes[:, 5]
    known = torch.arange(len(_CLASSES) - 1)
    expect(
        bool(torch.isin(classes, known.to(classes)).all()),
        f"predictions of {name!r}: expected the class to be an index of context.box_classes "
        f"{_CLASSES[1:]}, found {classes.tolist()}",
    )
    expect(
        bool(((places >= -0.01) & (places <= 1.01)).all()),
        f"predictions of {name!r}: expected {FORMAT}, confidence, relative to the image in "
        f"[0, 1], found {places.tolist()}",
    )
    expect(
        bool(((confidences >= 0) & (confidences <= 1)).all()),
        f"predictions of {name!r}: expected confidences in [0, 1], found {confidences.tolist()}",
    )


def _check_mask(name: str, mask: Tensor) -> None:
    expect(
        mask.shape == _SIZE,
        f"predictions of {name!r}: expected a mask (h, w) = {_SIZE}, found {tuple(mask.shape)}",
    )
    found = set(mask.unique().tolist())
    expect(
        found <= set(range(len(_CLASSES))),
        f"predictions of {name!r}: expected indices of context.mask_classes {_CLASSES}, found "
        f"{sorted(found)}",
    )


def _check_format(result: TaskResult, test: Sequence[Sample]) -> None:
    """Raise AssertionError if predicted boxes fit the labels in another format only."""
    pairs = []
    for sample in test:
        boxes = result.predictions.get(sample.id)
        if boxes is not None and boxes.is_floating_point() and sample.mask is not None:
            pairs.append((boxes[boxes[:, 5] >= _CONFIDENT, 1:5], sample.mask == 1))
    other = better_reading(pairs)
    expect(
        other is None,
        f"predicted boxes must be {FORMAT}, confidence; they fit the labelled boxes better when "
        f"read as {other}",
    )


@contextmanager
def _fitted(subject: Subject, seed: int) -> Iterator[Task]:
    """Yield a task that was fitted to small scenes, in a folder that exists for as long."""
    task: Task = subject.build()
    with tempfile.TemporaryDirectory() as folder:
        context = TaskContext(
            seed=seed,
            folder=Path(folder),
            mask_classes=_CLASSES,
            box_classes=_CLASSES[1:],
            modalities=subject.modalities,
        )
        task.fit(_scenes(subject, 8, first=0) if task.trains else [], context)
        yield task


CHECKS: tuple[Callable[[Subject], None], ...] = (task_scores, task_answers, task_seed)
"""The checks of tasks."""
