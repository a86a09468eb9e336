"""Builds the report of a benchmark from its results."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from fusionkit.benchmark.results import Row, SuiteResults
from fusionkit.benchmark.scenes import Scenes
from fusionkit.benchmark.suite import SuiteConfig
from fusionkit.benchmark.visualization import class_colour, draw_scene, labels_like
from fusionkit.interfaces import Dataset
from fusionkit.io.atomic_write import write_text
from fusionkit.io.images import from_float, read_image, to_float
from fusionkit.io.yaml_loading import dump_yaml
from fusionkit.reporting import tables
from fusionkit.reporting.benchmark_report import (
    BenchmarkReport,
    BenchmarkSection,
    PictureGrid,
    ScoredData,
    Swatch,
    render_benchmark_report,
)
from fusionkit.reporting.charts import rank_chart
from fusionkit.reporting.pages import Picture, embed_picture

__all__ = ["write_report"]

_SHOWN = 3
"""Number of scenes that are shown of each data set and task."""

FusedPaths = Mapping[tuple[str, str], Mapping[str, Path]]
"""(data set, method) -> scene id -> path of the fused image."""

Predictions = Mapping[str, Mapping[str, Tensor]]
"""Method -> scene id -> prediction."""


def write_report(
    folder: Path,
    config: SuiteConfig,
    results: SuiteResults,
    scenes: Mapping[str, Scenes],
    fused: FusedPaths,
) -> None:
    """Write ``report.html``: tables, ranks, classes, pictures, and what was run.

    Args:
        folder: The folder of the benchmark.
        config: The suite.
        results: The results.
        scenes: Data set -> its scenes.
        fused: (data set, method) -> scene id -> path of the fused image.
    """
    environment = {"versions": results.versions, "environment": results.environment}
    report = BenchmarkReport(
        name=config.name,
        methods=len(config.methods),
        data=tuple(
            ScoredData(name, data.scored, data.trained_on) for name, data in results.data.items()
        ),
        colour=config.colour,
        reference=results.reference,
        sections=_sections(results),
        grids=tuple(
            grid for each in scenes.values() for grid in _grids(config, results, each, fused)
        ),
        configuration=dump_yaml(config.to_dict()),
        environment=json.dumps(environment, indent=2),
    )
    write_text(folder / "report.html", render_benchmark_report(report))


def _sections(results: SuiteResults) -> tuple[BenchmarkSection, ...]:
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in results.table:
        groups.setdefault((row.data, row.task), []).append(row)
    sections = []
    for (data, task), rows in groups.items():
        overall = [row for row in rows if not _is_of_class(row.score)]
        by_class = [row for row in rows if _is_of_class(row.score)]
        ranks = (
            rank_chart(r.score, r.ranks, difference=r.difference, p=r.p, images=r.images)
            for r in results.ranks
            if (r.data, r.task) == (data, task) and not _is_of_class(r.score)
        )
        sections.append(
            BenchmarkSection(
                data=data,
                task=task,
                table=_table(overall, results.reference),
                counts=_counts(overall),
                by_class=_table(by_class, "") if by_class else None,
                class_counts=_counts(by_class),
                ranks=tuple(ranks),
            )
        )
    return tuple(sections)


def _is_of_class(score: str) -> bool:
    """Return whether a score is of one class, such as ``IoU/person``."""
    return "/" in score


def _counts(rows: Sequence[Row]) -> tuple[str, ...]:
    units = {"images": "image", "seeds": "seed"}
    return tuple(sorted({f"{r.n} {units[r.over] if r.n == 1 else r.over}" for r in rows}))


def _table(rows: Sequence[Row], highlighted: str) -> tables.Table:
    arrows = {row.score: "↑" if row.better == "higher" else "↓" for row in rows}
    cells = {(row.method, row.score): row for row in rows}
    return tables.Table(
        ("method", *(f"{score} {arrow}" for score, arrow in arrows.items())),
        tuple(
            tables.Row(
                method,
                tuple(_cell(cells.get((method, score))) for score in arrows),
                highlighted=method == highlighted,
            )
            for method in dict.fromkeys(row.method for row in rows)
        ),
    )


def _cell(row: Row | None) -> tables.Cell:
    if row is None:
        return tables.Cell("–")
    marks = {1: ("best",), 2: ("second",)}.get(row.place, ())
    if row.p is not None and row.p < 0.05:
        marks = (*marks, "differs")
    return tables.Cell(
        f"{row.mean:.3f}",
        "" if row.std is None else f"{row.std:.3f}",
        marks,
        "" if row.p is None else f"p = {row.p:.3g}",
    )


def _grids(
    config: SuiteConfig, results: SuiteResults, scenes: Scenes, fused: FusedPaths
) -> list[PictureGrid]:
    """Return a grid for each task with predictions; without one, a grid of the fused images."""
    tasks: dict[str, dict[str, Mapping[str, Tensor]]] = {}
    for cell in results.cells:
        if cell.data == scenes.name and cell.result.predictions:
            found = tasks.setdefault(cell.task, {})
            found.setdefault(cell.method, cell.result.predictions)
    paths = {
        method: fused[scenes.name, method]
        for method in config.methods
        if (scenes.name, method) in fused
    }
    if not tasks:
        step = max(1, len(scenes.test) // _SHOWN)
        shown = scenes.test[::step][:_SHOWN]
        rows = (_row(config, scenes.dataset, index, paths, {}) for index in shown)
        return [PictureGrid(scenes.name, (), tuple(rows))]
    grids = []
    for task, found in tasks.items():
        ids = {scene for predictions in found.values() for scene in predictions}
        shown = [index for index in scenes.test if scenes.dataset.id(index) in ids][:_SHOWN]
        rows = (_row(config, scenes.dataset, index, paths, found) for index in shown)
        legend = _legend(scenes.dataset, found)
        grids.append(PictureGrid(f"{scenes.name}: {task}", legend, tuple(rows)))
    return grids


def _row(
    config: SuiteConfig,
    dataset: Dataset,
    index: int,
    paths: Mapping[str, Mapping[str, Path]],
    found: Predictions,
) -> tuple[Picture, ...]:
    """Return the pictures of one scene: the labels if a task predicts any, then each method."""
    sample = dataset[index]
    pictures = []
    one = next((own[sample.id] for own in found.values() if sample.id in own), None)
    if one is not None:
        # The mean of the sources shows what either sensor sees.
        mean = torch.stack([sample.images[m][0] for m in config.modalities]).mean(dim=0)
        drawn = draw_scene(from_float(mean.numpy(), "uint8"), labels_like(sample, one))
        pictures.append(embed_picture(drawn, "labels"))
    for method, images in paths.items():
        image = from_float(to_float(read_image(images[sample.id])), "uint8")
        drawn = draw_scene(image, found.get(method, {}).get(sample.id))
        pictures.append(embed_picture(drawn, method))
    return tuple(pictures)


def _legend(dataset: Dataset, found: Predictions) -> tuple[Swatch, ...]:
    """Return the names of the classes in their colours."""
    predictions = [prediction for own in found.values() for prediction in own.values()]
    has_masks = any(not prediction.is_floating_point() for prediction in predictions)
    names = dataset.mask_classes if has_masks else dataset.box_classes
    return tuple(
        Swatch(name, "#{:02x}{:02x}{:02x}".format(*class_colour(kind)))
        for kind, name in enumerate(names)
    )
