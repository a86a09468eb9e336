"""The table of a benchmark: one row per data set, task, score and method."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from typing import Literal

import numpy as np
from rich.console import Console
from rich.table import Table

from fusionkit.benchmark.results import Cell, Ranks, Row, SuiteResults
from fusionkit.benchmark.statistics import confidence_interval, holm, rank_methods, wilcoxon_p
from fusionkit.io.csv_text import csv_text

__all__ = ["print_table", "summarize", "to_csv"]


def summarize(cells: Sequence[Cell], reference: str) -> tuple[list[Row], list[Ranks]]:
    """Return the rows of the table and the mean ranks.

    A score with values per image is summarized over the images, any other score over the seeds.
    If there are several seeds, the table always summarizes over them. The p value of a row
    compares its method with the reference on the same images by Wilcoxon's signed-rank test,
    adjusted by Holm for the number of methods.

    Args:
        cells: The cells of all tasks, data sets, methods and seeds.
        reference: The method that the others are compared with.
    """
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.data, cell.task), []).append(cell)
    rows: list[Row] = []
    ranks: list[Ranks] = []
    for (data, task), members in groups.items():
        for score in dict.fromkeys(name for cell in members for name in cell.result.scores):
            is_lower_better = score in members[0].lower_is_better
            better: Literal["higher", "lower"] = "lower" if is_lower_better else "higher"
            estimates = _estimates(members, score)
            places = _places(estimates, better)
            images = _values_by_image(members, score)
            p_values = _p_values(images, reference)
            rows += [
                Row(
                    data=data,
                    task=task,
                    score=score,
                    better=better,
                    method=method,
                    mean=estimate.mean,
                    std=estimate.std,
                    low=estimate.low,
                    high=estimate.high,
                    n=estimate.n,
                    over=estimate.over,
                    place=places[method],
                    p=p_values.get(method),
                )
                for method, estimate in estimates.items()
            ]
            found = rank_methods(images, higher=not is_lower_better) if images else None
            if found is not None:
                ranks.append(
                    Ranks(
                        data=data,
                        task=task,
                        score=score,
                        ranks=dict(found.ranks),
                        difference=found.difference,
                        p=found.p,
                        images=found.images,
                    )
                )
    return rows, ranks


@dataclass(frozen=True)
class _Estimate:
    """The mean of one method's score and its spread; see :class:`Row`."""

    mean: float
    std: float | None
    low: float | None
    high: float | None
    n: int
    over: Literal["images", "seeds"]


def _estimates(cells: Sequence[Cell], score: str) -> dict[str, _Estimate]:
    """Return method -> mean and spread of a score."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        if score in cell.result.scores:
            groups.setdefault(cell.method, []).append(cell)
    return {method: _estimate(own, score) for method, own in groups.items()}


def _estimate(cells: Sequence[Cell], score: str) -> _Estimate:
    seeds = [float(cell.result.scores[score]) for cell in cells]
    images = cells[0].result.per_image.get(score) if len(cells) == 1 else None
    values = list(images.values()) if images else seeds
    mean = math.fsum(seeds) / len(seeds)
    interval = confidence_interval(values)
    # The score of a set may differ from the mean of its images (IoU does), so the interval is
    # moved to lie around the score of the set.
    middle = math.fsum(values) / len(values)
    return _Estimate(
        mean=mean,
        std=float(np.std(values, ddof=1)) if len(values) > 1 else None,
        low=None if interval is None else mean + interval[0] - middle,
        high=None if interval is None else mean + interval[1] - middle,
        n=len(values),
        over="images" if images else "seeds",
    )


def _places(estimates: Mapping[str, _Estimate], better: str) -> dict[str, int]:
    """Return method -> place; equal means share a place."""
    means = sorted({estimate.mean for estimate in estimates.values()}, reverse=better == "higher")
    return {method: means.index(estimate.mean) + 1 for method, estimate in estimates.items()}


def _values_by_image(cells: Sequence[Cell], score: str) -> dict[str, list[float]]:
    """Return method -> value of each image, averaged over the seeds.

    Only images for which all methods have a value are used, in the same order for all methods.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for cell in cells:
        for image, value in cell.result.per_image.get(score, {}).items():
            found.setdefault(cell.method, {}).setdefault(image, []).append(value)
    if not found:
        return {}
    common = sorted(set.intersection(*(set(values) for values in found.values())))
    return {
        method: [math.fsum(values[image]) / len(values[image]) for image in common]
        for method, values in found.items()
    }


def _p_values(images: Mapping[str, Sequence[float]], reference: str) -> dict[str, float]:
    """Return method -> adjusted p value of the paired test against the reference."""
    tests: dict[str, float] = {}
    for method, values in images.items():
        if method != reference and reference in images:
            p = wilcoxon_p(images[reference], values)
            if p is not None:
                tests[method] = p
    return holm(tests)


def to_csv(table: Sequence[Row]) -> str:
    """Return the table as CSV, with all digits of the numbers; missing values are empty."""
    return csv_text([[field.name for field in fields(Row)], *(astuple(row) for row in table)])


def print_table(results: SuiteResults, console: Console) -> None:
    """Print the means, one table for each data set and task, with the best in bold."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in results.table:
        if "/" not in row.score:
            groups.setdefault((row.data, row.task), []).append(row)
    for (data, task), rows in groups.items():
        scores = list(dict.fromkeys(row.score for row in rows))
        printed = Table(title=f"{data}: {task}")
        printed.add_column("method")
        for score in scores:
            printed.add_column(score, justify="right")
        for method in dict.fromkeys(row.method for row in rows):
            own = {row.score: row for row in rows if row.method == method}
            printed.add_row(method, *(_formatted(own.get(score)) for score in scores))
        console.print(printed)


def _formatted(row: Row | None) -> str:
    if row is None:
        return "-"
    return f"[bold]{row.mean:.3f}[/bold]" if row.place == 1 else f"{row.mean:.3f}"
