"""Runs a suite: check everything, fuse, score cell by cell, write the table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from fusionkit.benchmark.cells import Cells, identity, versions
from fusionkit.benchmark.labels import check_labels
from fusionkit.benchmark.methods import Method, fuse_scenes, make_methods
from fusionkit.benchmark.page import write_page
from fusionkit.benchmark.pictures import kept
from fusionkit.benchmark.splits import check_disjoint, content_of, read_manifest
from fusionkit.benchmark.suite import DataTerm, LoadedSuite, TaskTerm
from fusionkit.benchmark.tables import summarize, to_csv
from fusionkit.errors import FusionkitError
from fusionkit.interfaces import Dataset, Sample, Task, TaskContext
from fusionkit.io.atomic_write import make_folder, write_json, write_text
from fusionkit.io.hashes import file_hash
from fusionkit.io.images import read_image, to_float
from fusionkit.progress import ProgressBar
from fusionkit.registry.plugins import Plugins
from fusionkit.runs.environment import environment

__all__ = ["Scenes", "run_suite"]


@dataclass(frozen=True)
class Scenes:
    """A data set of a suite: which scenes tasks train on, and which are scored."""

    name: str
    dataset: Dataset
    fit: tuple[int, ...]
    score: tuple[int, ...]


def run_suite(
    suite: LoadedSuite,
    plugins: Plugins,
    folder: Path,
    *,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Run a suite; what an earlier call has finished is not done again.

    Writes ``results.csv``, ``results.json`` and ``report.html``, and beside them what they follow
    from: ``fused/``, ``cells/`` and, for methods that are trained, ``runs/``.

    Args:
        suite: The validated suite.
        plugins: What its names refer to.
        folder: Where to work; made if it is not there.
        say: Told in a line what happens.

    Returns:
        What ``results.json`` holds.

    Raises:
        FusionkitError: for anything wrong with data, labels, splits, methods or tasks, before
            anything is trained.
    """
    config = suite.config
    for name, term in config.tasks.items():
        _task(suite, plugins, name, term)
    make_folder(folder)
    methods = {
        name: make_methods(name, term, suite, plugins, folder / "runs", say)
        for name, term in config.methods.items()
    }
    scenes = {name: _scenes(suite, plugins, name, term) for name, term in config.data.items()}
    fitted = _fitted(suite, plugins, scenes)
    cells = Cells(folder / "cells")
    fused: dict[tuple[str, str, int | None], dict[str, str]] = {}
    for data, set_ in scenes.items():
        indices = sorted({*set_.score, *(set_.fit if data in fitted else ())})
        for method in (one for trained in methods.values() for one in trained):
            name = method.name
            if data not in (config.methods[name].data or config.data):
                continue
            say(f"fusing {data} by {method.label}")
            with ProgressBar("  scenes", len(indices)) as bar:
                try:
                    fused[data, name, method.seed] = fuse_scenes(
                        method, set_.dataset, indices, folder / "fused", bar.step
                    )
                except FusionkitError as error:
                    raise suite.error(("methods", name), error) from None
    rows: list[dict[str, Any]] = []
    for task_name, term in config.tasks.items():
        for data in term.data or tuple(scenes):
            for method in (one for trained in methods.values() for one in trained):
                if paths := fused.get((data, method.name, method.seed)):
                    rows += _score(
                        suite, plugins, folder, cells, say,
                        task_name, term, scenes[data], method, paths,
                    )  # fmt: skip
    results = summarize(config, rows)
    results |= {
        "suite": config.to_dict(),
        "versions": versions(),
        "environment": environment(),
        "data": {
            name: {
                "trained on": len(set_.fit) if name in fitted else 0,
                "scored": len(set_.score),
                "content": {
                    set_.dataset.id(index): content_of(set_.dataset[index])[:16]
                    for index in set_.score
                },
            }
            for name, set_ in scenes.items()
        },
        "cells": rows,
    }
    write_text(folder / "results.csv", to_csv(results["table"]))
    write_json(folder / "results.json", results)
    # Of a method that was trained more than once the page shows the first.
    shown: dict[tuple[str, str], dict[str, str]] = {}
    for (data, name, _), paths in fused.items():
        shown.setdefault((data, name), paths)
    write_page(folder, config, results, scenes, shown)
    say(f"{cells.computed} cells computed, {cells.found} found finished")
    return results


def _task(suite: LoadedSuite, plugins: Plugins, name: str, term: TaskTerm) -> Task:
    try:
        return plugins.registry.build(term.component, suite.config.modalities)
    except FusionkitError as error:
        raise suite.error(("tasks", name), error) from None


def _fitted(suite: LoadedSuite, plugins: Plugins, scenes: Mapping[str, Scenes]) -> set[str]:
    """Return the data sets that some task trains on, after checking them and their labels."""
    fitted: set[str] = set()
    for name, term in suite.config.tasks.items():
        task = _task(suite, plugins, name, term)
        for data in term.data or tuple(scenes):
            set_ = scenes[data]
            indices = set_.score
            if task.trains:
                fitted.add(data)
                indices = (*set_.fit, *set_.score)
                if not set_.fit:
                    raise suite.error(
                        ("data", data), f"no scene to train on, which the task {name} needs"
                    )
                try:
                    check_disjoint(set_.dataset, set_.fit, set_.score)
                except FusionkitError as error:
                    raise suite.error(("data", data), error) from None
            if task.labels is not None:
                try:
                    check_labels(set_.dataset, indices, task.labels)
                except FusionkitError as error:
                    raise suite.error(("data", data), error) from None
    return fitted


def _scenes(suite: LoadedSuite, plugins: Plugins, name: str, term: DataTerm) -> Scenes:
    """Build a data set and its split, every hash checked."""
    location = ("data", name)
    try:
        dataset: Dataset = plugins.registry.build(term.component, suite.config.modalities)
        splits = {split: list(indices) for split, indices in dataset.splits().items()}
        if term.manifest is not None:
            path = suite.folder / term.manifest
            splits = read_manifest(path).indices(dataset, path)
        score_on = term.score_on or ("test" if splits.get("test") else "val")
        if score_on != "all" and not splits.get(score_on):
            raise FusionkitError(
                f"there is no split {score_on!r} to score (there are: "
                f"{', '.join(k for k, v in splits.items() if v)}, all)"
            )
        ids = [dataset.id(index) for index in range(len(dataset))]
        if repeated := sorted({i for i in ids if ids.count(i) > 1}):
            raise FusionkitError(f"two scenes are called {repeated[0]!r}")
    except FusionkitError as error:
        raise suite.error(location, error) from None
    score = list(range(len(dataset))) if score_on == "all" else splits[score_on]
    return Scenes(name, dataset, tuple(splits.get(term.fit_on, ())), tuple(score))


def _score(
    suite: LoadedSuite,
    plugins: Plugins,
    folder: Path,
    cells: Cells,
    say: Callable[[str], None],
    task_name: str,
    term: TaskTerm,
    scenes: Scenes,
    method: Method,
    paths: Mapping[str, str],
) -> list[dict[str, Any]]:
    """Score one method on one data set by one task, with each seed."""
    config = suite.config
    task = _task(suite, plugins, task_name, term)
    seeds = (term.seeds or config.seeds) if task.trains else (0,)
    train = _Fused(scenes.fit if task.trains else (), scenes, method, paths, folder, config)
    test = _Fused(scenes.score, scenes, method, paths, folder, config)
    images = {"train": train.content(), "test": test.content()}
    rows = []
    for seed in seeds:
        key = {
            "task": identity(plugins.registry, term.component),
            "seed": seed,
            "modalities": list(config.modalities),
            "colour": test.colour,
            "images": images,
            "versions": versions(),
        }
        result = cells.get(key)
        if result is None:
            with cells.claim(key, folder / "work") as work:
                result = cells.get(key)
                if result is None:
                    say(f"{task_name} on {scenes.name}: {method.label}, seed {seed}")
                    task = _task(suite, plugins, task_name, term)
                    context = TaskContext(
                        seed=seed,
                        folder=work,
                        accelerator=_accelerator(config.accelerator),
                        mask_classes=scenes.dataset.mask_classes,
                        box_classes=scenes.dataset.box_classes,
                        modalities=config.modalities,
                    )
                    result = _computed(task, context, train, test)
                    cells.put(key, result)
        rows.append(
            {
                "task": task_name,
                "data": scenes.name,
                "method": method.name,
                "seed": seed,
                "trained with": method.seed,
                "scored": len(scenes.score),
                "lower": list(task.lower_is_better),
                **result,
            }
        )
    return rows


def _computed(
    task: Task, context: TaskContext, train: Sequence[Sample], test: Sequence[Sample]
) -> dict[str, Any]:
    """Train and score a task; return what a cell holds."""
    task.fit(train, context)
    result = task.score(test)
    return {
        "scores": dict(result.scores),
        "images": {name: dict(values) for name, values in result.per_image.items()},
        "predictions": {
            name: kept(value) for name, value in list(result.predictions.items())[:_KEPT]
        },
    }


class _Fused(Sequence[Sample]):
    """Scenes as a task sees them: the sources, the fused image as saved, colour by the rule."""

    def __init__(
        self,
        indices: Sequence[int],
        scenes: Scenes,
        method: Method,
        paths: Mapping[str, str],
        folder: Path,
        config: Any,
    ):
        self._indices, self._scenes, self._paths = indices, scenes, paths
        self._folder = folder / "fused"
        # A single source of another modality shows what its own sensor sees, which has no colour.
        self.colour = "none" if method.source not in (None, config.colour) else config.colour

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        sample = self._scenes.dataset[self._indices[index]]
        fused = torch.from_numpy(to_float(read_image(self._folder / self._paths[sample.id])))
        chroma = sample.chroma if self.colour != "none" else None
        return replace(sample, images={**sample.images, "fused": fused[None]}, chroma=chroma)

    def content(self) -> list[str]:
        """Return a hash of each scene with its labels, and one of each fused image."""
        dataset = self._scenes.dataset
        return [
            f"{content_of(dataset[i])[:24]} "
            f"{file_hash(self._folder / self._paths[dataset.id(i)])[:24]}"
            for i in self._indices
        ]


_KEPT = 8
"""Predictions kept for the report, of the first scenes."""


def _accelerator(wanted: str) -> str:
    if wanted in ("auto", "gpu", "cuda"):
        if torch.cuda.is_available():
            return "cuda"
        if wanted != "auto":
            raise FusionkitError(f"accelerator: {wanted} was asked for, and there is no GPU")
        return "cpu"
    return wanted
