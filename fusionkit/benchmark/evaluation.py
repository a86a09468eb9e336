"""Evaluates the cells of a suite: a task, trained and scored on the fused images of a method."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from fusionkit.benchmark.cell_store import CellStore
from fusionkit.benchmark.fused_images import FusedImages
from fusionkit.benchmark.identity import component_identity, versions
from fusionkit.benchmark.results import Cell
from fusionkit.benchmark.scenes import FusedScenes
from fusionkit.benchmark.suite import LoadedSuite
from fusionkit.errors import FusionkitError
from fusionkit.inference.engines import Engine, ordered, write_token
from fusionkit.inference.parallel import Turns
from fusionkit.interfaces import ImageTask, Task, TaskContext, TaskResult
from fusionkit.io.hashes import file_hash
from fusionkit.registry.components import Registry

__all__ = ["CellEvaluator", "build_task"]

logger = logging.getLogger("fusionkit")

_SHOWN_PREDICTIONS = 8
"""Number of predictions that a cell keeps for the report, of the first scenes."""


class CellEvaluator:
    """Evaluates cells, or finds those that an earlier command has finished.

    Args:
        suite: The validated suite.
        registry: The installed components.
        folder: Folder of the benchmark.
        engine: What scores the images of tasks of the kind ``ImageTask``.

    Attributes:
        store: The finished cells.
    """

    def __init__(self, suite: LoadedSuite, registry: Registry, folder: Path, engine: Engine):
        self._suite = suite
        self._registry = registry
        self._engine = engine
        self.store = CellStore(folder / "cells", folder / "work")

    def evaluate(self, task_name: str, images: FusedImages) -> list[Cell]:
        """Return the cells of a task, a method and a data set: one for each seed of the task.

        Raises:
            FusionkitError: if the task can't train on the images or score them.
        """
        config = self._suite.config
        task = build_task(task_name, self._suite, self._registry)
        scenes, method = images.scenes, images.method
        seeds = (config.tasks[task_name].seeds or config.seeds) if task.trains else (0,)
        colour = method.colour(config.colour)
        has_colour = colour != "none"
        train_indices = scenes.train if task.trains else ()
        train = FusedScenes(scenes.dataset, train_indices, images.paths, has_colour)
        test = FusedScenes(scenes.dataset, scenes.test, images.paths, has_colour)
        key = {
            "task": component_identity(self._registry, config.tasks[task_name].component),
            "modalities": list(config.modalities),
            "colour": colour,
            "images": {
                "train": _content_hashes(images, train_indices),
                "test": _content_hashes(images, scenes.test),
            },
            "versions": versions(),
        }

        def compute(seed: int, work: Path) -> TaskResult:
            logger.info("%s on %s: %s, seed %d", task_name, scenes.name, method.label, seed)
            context = TaskContext(
                seed=seed,
                folder=work,
                accelerator=_accelerator(config.accelerator),
                mask_classes=scenes.dataset.mask_classes,
                box_classes=scenes.dataset.box_classes,
                modalities=config.modalities,
            )
            fresh = build_task(task_name, self._suite, self._registry)
            fresh.fit(train, context)
            if isinstance(fresh, ImageTask):
                try:
                    result = _score_images(fresh, images, test, work, self._engine)
                except FusionkitError as error:
                    raise self._suite.error(("tasks", task_name), error) from None
            else:
                result = fresh.score(test)
            shown = dict(list(result.predictions.items())[:_SHOWN_PREDICTIONS])
            return replace(result, predictions=shown)

        return [
            Cell(
                task=task_name,
                data=scenes.name,
                method=method.name,
                seed=seed,
                training_seed=method.training_seed,
                scored=len(scenes.test),
                lower_is_better=tuple(task.lower_is_better),
                result=self.store.get_or_compute({**key, "seed": seed}, partial(compute, seed)),
            )
            for seed in seeds
        ]


def build_task(name: str, suite: LoadedSuite, registry: Registry) -> Task:
    """Build a task of a suite.

    Raises:
        FusionkitError: if the task refuses its arguments, with file and line.
    """
    try:
        return registry.build(suite.config.tasks[name].component, suite.config.modalities)
    except FusionkitError as error:
        raise suite.error(("tasks", name), error) from None


def _content_hashes(images: FusedImages, indices: Sequence[int]) -> list[str]:
    """Return for each scene a hash of images and labels, and one of the fused image's file."""
    scenes = images.scenes
    return [
        f"{scenes.content_hash(index)[:24]} "
        f"{file_hash(images.paths[scenes.dataset.id(index)])[:24]}"
        for index in indices
    ]


def _score_images(
    task: ImageTask, images: FusedImages, test: FusedScenes, work: Path, engine: Engine
) -> TaskResult:
    """Score each image on its own; ``work`` is an empty folder in that of the benchmark."""
    dataset, indices = images.scenes.dataset, images.scenes.test
    items = [_Scored(dataset.id(index), place) for place, index in enumerate(indices)]
    # Every worker must see the folder of the benchmark, and the files of the first scene.
    shared = [write_token(work), *dataset.files(indices[0]).values()]
    with closing(engine.run(_ScoreJob(task, test), items, shared=shared)) as results:
        scores = {item.id: found for item, found in zip(items, ordered(results), strict=True)}
    return task.summarize(scores)


@dataclass(frozen=True)
class _Scored:
    """A scene to score, and its place among the test scenes."""

    id: str
    place: int

    def __str__(self) -> str:
        return self.id


@dataclass(frozen=True)
class _ScoreJob:
    """What scores images in any process; see ``_score_images``."""

    task: ImageTask
    scenes: FusedScenes

    def __call__(self, threads: int) -> Callable[[_Scored], Mapping[str, float]]:
        reading, turns = threading.Lock(), Turns()

        def score(scene: _Scored) -> Mapping[str, float]:
            with reading:  # a data set need not be safe for several threads
                sample = self.scenes[scene.place]
            with turns.take(alone=False):
                return self.task.score_image(sample)

        return score


def _accelerator(wanted: str) -> str:
    if wanted in ("auto", "gpu", "cuda"):
        if torch.cuda.is_available():
            return "cuda"
        if wanted != "auto":
            raise FusionkitError(
                f"accelerator: the suite asks for {wanted}, but this machine has no GPU; "
                f"set accelerator to auto or cpu"
            )
        return "cpu"
    return wanted
