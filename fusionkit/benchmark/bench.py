"""Runs a suite: check everything, fuse, evaluate cell by cell, write the table."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from fusionkit.benchmark.content import check_disjoint
from fusionkit.benchmark.evaluation import CellEvaluator, build_task
from fusionkit.benchmark.fused_images import FusedImages, fuse_scenes
from fusionkit.benchmark.identity import versions
from fusionkit.benchmark.labels import check_labels
from fusionkit.benchmark.methods import Method, Workspace, build_methods
from fusionkit.benchmark.report import write_report
from fusionkit.benchmark.results import Cell, DataSummary, SuiteResults
from fusionkit.benchmark.scenes import Scenes, build_scenes
from fusionkit.benchmark.suite import LoadedSuite
from fusionkit.benchmark.tables import summarize, to_csv
from fusionkit.errors import FusionkitError
from fusionkit.inference.devices import Precision
from fusionkit.inference.engines import Engine, LocalEngine
from fusionkit.interfaces import Task
from fusionkit.io.atomic_write import locked, make_folder, remove_leftovers, write_text
from fusionkit.registry.plugins import Plugins
from fusionkit.runs.environment import environment

__all__ = ["run_suite"]

logger = logging.getLogger("fusionkit")


def run_suite(
    suite: LoadedSuite,
    plugins: Plugins,
    folder: Path,
    *,
    device: torch.device | None = None,
    precision: Precision = "fp32",
    engine: Engine | None = None,
) -> SuiteResults:
    """Run a suite; what an earlier call has finished is not done again.

    Writes ``results.csv``, ``results.json`` and ``report.html``. The folders ``fused/``, ``cells/``
    and, for methods that are trained, ``runs/`` hold what these files are computed from.

    Args:
        suite: The validated suite.
        plugins: The installed plugins.
        folder: Folder of the benchmark; created if it does not exist.
        device: Where networks fuse; the CPU by default.
        precision: Arithmetic of the networks when they fuse.
        engine: What fuses the scenes, and scores them by tasks of the kind ``ImageTask``; threads
            of this process by default. Everything else is done in this process.

    Returns:
        What ``results.json`` holds.

    Raises:
        FusionkitError: for a problem with data, labels, splits, methods or tasks, before anything
            is trained.
    """
    config, registry = suite.config, plugins.registry
    tasks = {name: build_task(name, suite, registry) for name in config.tasks}
    make_folder(folder)
    workspace = Workspace(suite, plugins, folder / "runs", device, precision)
    methods = [
        method
        for name, term in config.methods.items()
        for method in build_methods(name, term, workspace)
    ]
    scenes = {name: build_scenes(name, term, suite, registry) for name, term in config.data.items()}
    trained_on = _check_data(suite, tasks, scenes)
    engine = engine or LocalEngine()
    fused = _fuse(suite, methods, scenes, trained_on, folder / "fused", engine)
    evaluator = CellEvaluator(suite, registry, folder, engine)
    cells = _evaluate(suite, evaluator, scenes, fused)
    reference = config.reference or next(iter(config.methods))
    rows, ranks = summarize(cells, reference)
    results = SuiteResults(
        reference=reference,
        table=tuple(rows),
        ranks=tuple(ranks),
        suite=config.to_dict(),
        versions=versions(),
        environment=environment(),
        data={
            name: DataSummary(
                trained_on=len(each.train) if name in trained_on else 0,
                scored=len(each.test),
                content=each.content_hashes(),
            )
            for name, each in scenes.items()
        },
        cells=tuple(cells),
    )
    with locked(folder / ".lock"):  # of commands that share the folder, one writes at a time
        remove_leftovers([folder])
        write_text(folder / "results.csv", to_csv(results.table))
        results.write(folder / "results.json")
        write_report(folder, config, results, scenes, _first_images(fused))
    store = evaluator.store
    logger.info("%d cells computed, %d found finished", store.computed, store.found)
    return results


def _check_data(
    suite: LoadedSuite, tasks: Mapping[str, Task], scenes: Mapping[str, Scenes]
) -> set[str]:
    """Check splits and labels; return the names of the data sets that tasks train on."""
    trained_on: set[str] = set()
    for name, task in tasks.items():
        for data in suite.config.tasks[name].data or tuple(scenes):
            try:
                _check_scenes(name, task, scenes[data])
            except FusionkitError as error:
                raise suite.error(("data", data), error) from None
            if task.trains:
                trained_on.add(data)
    return trained_on


def _check_scenes(name: str, task: Task, scenes: Scenes) -> None:
    indices = scenes.test
    if task.trains:
        if not scenes.train:
            raise FusionkitError(f"no scene to train on, which the task {name} needs")
        check_disjoint(scenes.dataset, scenes.train, scenes.test)
        indices = (*scenes.train, *scenes.test)
    if task.labels is not None:
        check_labels(scenes.dataset, indices, task.labels)


def _fuse(
    suite: LoadedSuite,
    methods: Sequence[Method],
    scenes: Mapping[str, Scenes],
    trained_on: set[str],
    folder: Path,
    engine: Engine,
) -> list[FusedImages]:
    """Fuse the scenes of each data set by each method that has results for it."""
    fused = []
    for data, each in scenes.items():
        indices = sorted({*each.test, *(each.train if data in trained_on else ())})
        for method in methods:
            if data not in (suite.config.methods[method.name].data or scenes):
                continue
            logger.info("fusing %s by %s", data, method.label)
            try:
                fused.append(fuse_scenes(method, each, indices, folder, engine))
            except FusionkitError as error:
                raise suite.error(("methods", method.name), error) from None
    return fused


def _evaluate(
    suite: LoadedSuite,
    evaluator: CellEvaluator,
    scenes: Mapping[str, Scenes],
    fused: Sequence[FusedImages],
) -> list[Cell]:
    """Evaluate each task on each of its data sets for each method."""
    return [
        cell
        for task, term in suite.config.tasks.items()
        for data in term.data or tuple(scenes)
        for images in fused
        if images.scenes.name == data
        for cell in evaluator.evaluate(task, images)
    ]


def _first_images(fused: Sequence[FusedImages]) -> dict[tuple[str, str], Mapping[str, Path]]:
    """Return (data set, method) -> scene id -> path of the fused image, for the page.

    A method that was trained with several seeds shows the images of the first.
    """
    shown: dict[tuple[str, str], Mapping[str, Path]] = {}
    for images in fused:
        shown.setdefault((images.scenes.name, images.method.name), images.paths)
    return shown
