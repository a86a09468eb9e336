"""Checks of metrics and tasks: what a table may rely on."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fusionkit.errors import FusionkitError
from fusionkit.interfaces import Images, Sample, TaskContext, TaskResult
from fusionkit.registry.signatures import parameters_of
from fusionkit.testing.subject import NotApplicable, Subject, expect

_SIDE = 192
_CLASSES = ("ground", "thing")


def _scenes(subject: Subject) -> tuple[Images, Tensor]:
    """Return sources large enough for five scales, and what is fused of them."""
    sources = subject.images(_SIDE, _SIDE)
    return sources, torch.stack(list(sources.values())).mean(dim=0)


def values(subject: Subject) -> None:
    """It gives one finite number for each image of the batch, in every profile it is defined in."""
    sources, fused = _scenes(subject)
    for profile in subject.cls.profiles:  # type: ignore[attr-defined]
        metric = _in(subject, profile)
        found = metric(fused, sources)
        expect(found.shape == (2,), f"2 images gave values of shape {tuple(found.shape)}")
        expect(
            bool(found.isfinite().all()),
            f"in the profile {profile} it gives {found.tolist()}",
        )


def extremes(subject: Subject) -> None:
    """It stays finite for flat, black and white images."""
    sources, _ = _scenes(subject)
    metric = subject.build()
    for level in (0.0, 0.5, 1.0):
        flat = torch.full((2, 1, _SIDE, _SIDE), level)
        for name, given in (("real", sources), ("flat", dict.fromkeys(sources, flat))):
            found = metric(flat, given)
            expect(
                bool(found.isfinite().all()),
                f"a fused image of {level} everywhere and {name} sources give {found.tolist()}",
            )


def batch_independence(subject: Subject) -> None:
    """What it gives for an image does not depend on the others of the batch."""
    sources, fused = _scenes(subject)
    metric = subject.build()
    both = metric(fused, sources)
    alone = metric(fused[1:], {name: image[1:] for name, image in sources.items()})
    expect(
        math.isclose(float(both[1]), float(alone[0]), rel_tol=1e-6, abs_tol=1e-9),
        f"an image scores {float(alone[0])} alone and {float(both[1])} in a batch",
    )


def determinism(subject: Subject) -> None:
    """It gives the same twice, and leaves its inputs as they are."""
    sources, fused = _scenes(subject)
    kept = fused.clone(), {name: image.clone() for name, image in sources.items()}
    metric = subject.build()
    one, other = metric(fused, sources), metric(fused, sources)
    expect(torch.equal(one, other), f"it gives {one.tolist()} and then {other.tolist()}")
    same = torch.equal(fused, kept[0]) and all(torch.equal(sources[n], kept[1][n]) for n in sources)
    expect(same, "it changes its inputs in place")


def direction(subject: Subject) -> None:
    """Its direction is true: a perfect fused image scores no worse than one without content."""
    sources, _ = _scenes(subject)
    image = next(iter(sources.values()))
    metric = subject.build()
    given = dict.fromkeys(sources, image)
    perfect = metric(image, given)
    empty = metric(torch.full_like(image, 0.5), given)
    better = perfect >= empty - 1e-9 if metric.higher_is_better else perfect <= empty + 1e-9
    word = "higher" if metric.higher_is_better else "lower"
    expect(
        bool(better.all()),
        f"{word} is better, it says; but where all sources are one image, that image scores "
        f"{perfect.tolist()} and a grey one {empty.tolist()}",
    )


def _in(subject: Subject, profile: str) -> Any:
    if "profile" not in parameters_of(subject.cls):
        return subject.build()  # it follows one profile only
    return replace(subject, arguments={**subject.arguments, "profile": profile}).build()


def _labelled(subject: Subject, count: int, first: int) -> list[Sample]:
    """Return scenes with a bright square that masks and boxes mark."""
    made = []
    for index in range(first, first + count):
        generator = torch.Generator().manual_seed(index)
        cx, cy = (0.3 + 0.4 * torch.rand(2, generator=generator)).tolist()
        image = 0.2 + 0.05 * torch.rand(1, 64, 64, generator=generator)
        mask = torch.zeros(64, 64, dtype=torch.int64)
        top, left = int((cy - 0.15) * 64), int((cx - 0.15) * 64)
        image[:, top : top + 19, left : left + 19] += 0.6
        mask[top : top + 19, left : left + 19] = 1
        images = {**dict.fromkeys(subject.modalities, image), "fused": image}
        boxes = torch.tensor([[0, cx, cy, 0.3, 0.3]])
        made.append(Sample(f"scene {index}", images, mask=mask, boxes=boxes))
    return made


def _scored(subject: Subject, seed: int) -> tuple[TaskResult, list[str]]:
    task = subject.build()
    test = _labelled(subject, 4, 100)
    with tempfile.TemporaryDirectory() as folder:
        context = TaskContext(
            seed=seed,
            folder=Path(folder),
            mask_classes=_CLASSES,
            box_classes=_CLASSES[1:],
            modalities=subject.modalities,
        )
        try:
            task.fit(_labelled(subject, 8, 0) if task.trains else [], context)
            return task.score(test), [sample.id for sample in test]
        except FusionkitError as error:
            raise NotApplicable(f"it can't work on small made-up scenes: {error}") from None


def task_scores(subject: Subject) -> None:
    """It fits and scores small scenes: finite numbers, and what it has of each scene by its id."""
    before = torch.random.get_rng_state()
    result, ids = _scored(subject, seed=0)
    expect(
        torch.equal(before, torch.random.get_rng_state()),
        "it leaves the global random generator elsewhere; wrap training in torch.random.fork_rng",
    )
    expect(bool(result.scores), "it gives no score")
    for name, value in result.scores.items():
        expect(math.isfinite(value), f"its score {name} is {value}")
    for name, found in result.per_image.items():
        expect(name in result.scores, f"per_image has {name}, which is no score of the set")
        expect(set(found) <= set(ids), f"per_image names scenes that were not scored: {set(found)}")
    for name, prediction in result.predictions.items():
        expect(name in ids, f"it predicts for {name!r}, which was not scored")
        expect(
            prediction.shape == (64, 64)
            if not prediction.is_floating_point()
            else prediction.shape[1:] == (6,),
            f"its prediction has shape {tuple(prediction.shape)}; expected a mask (h, w) of whole "
            f"numbers or boxes (n, 6)",
        )


def task_seed(subject: Subject) -> None:
    """The same seed gives the same scores."""
    one, other = _scored(subject, seed=1)[0].scores, _scored(subject, seed=1)[0].scores
    expect(one == other, f"with one seed it scores {dict(one)} and then {dict(other)}")


METRIC_CHECKS: tuple[Callable[[Subject], None], ...] = (
    values,
    extremes,
    batch_independence,
    determinism,
    direction,
)
TASK_CHECKS: tuple[Callable[[Subject], None], ...] = (task_scores, task_seed)
