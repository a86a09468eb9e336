"""Evaluates the cells of a suite: a task, trained and scored on the fused images of a method."""

from __future__ import annotations

import logging
from dataclasses import replace
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
from fusionkit.interfaces import Task, TaskContext, TaskResult
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

    Attributes:
        store: The finished cells.
    """

    def __init__(self, suite: LoadedSuite, registry: Registry, folder: Path):
        self._suite = suite
        self._registry = registry
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
            "images": {"train": train.content_hashes(), "test": test.content_hashes()},
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
