"""The table of a benchmark: one line per data set, task, score and method."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from fusionkit.benchmark.statistics import holm, interval, paired, ranking
from fusionkit.benchmark.suite import SuiteConfig

__all__ = ["print_table", "summarize", "to_csv"]

COLUMNS = (
    "data", "task", "score", "better", "method", "mean", "std", "low", "high", "n", "over",
    "place", "p",
)  # fmt: skip


def summarize(config: SuiteConfig, cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return ``table``, ``ranks`` and ``reference`` from the scores of the cells.

    A score with a value per image is summed up over the images (mean over the seeds first), any
    other over the seeds. ``p`` compares a method with the reference on the same images by
    Wilcoxon's signed-rank test, adjusted for the number of methods by Holm.
    """
    reference = config.reference or next(iter(config.methods))
    table: list[dict[str, Any]] = []
    ranks: list[dict[str, Any]] = []
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for cell in cells:
        groups.setdefault((cell["data"], cell["task"]), []).append(cell)
    for (data, task), members in groups.items():
        names = dict.fromkeys(name for cell in members for name in cell["scores"])
        for score in names:
            better = "lower" if score in members[0]["lower"] else "higher"
            lines = [
                {"data": data, "task": task, "score": score, "better": better, **line}
                for line in _lines(members, score)
            ]
            _place(lines, better)
            images = _by_image(members, score)
            _compare(lines, images, reference)
            found = ranking(images, better == "higher") if images else None
            if found is not None:
                ranks.append(
                    {
                        "data": data,
                        "task": task,
                        "score": score,
                        "ranks": dict(found.ranks),
                        "difference": found.difference,
                        "p": found.p,
                        "images": found.images,
                    }
                )
            table += lines
    return {"reference": reference, "table": table, "ranks": ranks}


def _lines(members: Sequence[Mapping[str, Any]], score: str) -> list[dict[str, Any]]:
    lines = []
    for method in dict.fromkeys(cell["method"] for cell in members):
        own = [cell for cell in members if cell["method"] == method and score in cell["scores"]]
        if not own:
            continue
        seeds = [float(cell["scores"][score]) for cell in own]
        images = own[0]["images"].get(score) if len(own) == 1 else None
        values = list(images.values()) if images else seeds
        mean = math.fsum(seeds) / len(seeds)
        # The score of a set need not be the mean of its images (IoU), so the interval is moved.
        reach = interval(values)
        middle = math.fsum(values) / len(values)
        lines.append(
            {
                "method": method,
                "mean": mean,
                "std": float(np.std(values, ddof=1)) if len(values) > 1 else None,
                "low": None if reach is None else mean + reach[0] - middle,
                "high": None if reach is None else mean + reach[1] - middle,
                "n": len(values),
                "over": "images" if images else "seeds",
            }
        )
    return lines


def _place(lines: list[dict[str, Any]], better: str) -> None:
    values = sorted({line["mean"] for line in lines}, reverse=better == "higher")
    for line in lines:
        line["place"] = values.index(line["mean"]) + 1


def _by_image(members: Sequence[Mapping[str, Any]], score: str) -> dict[str, list[float]]:
    """Return method -> value of each image, mean over the seeds, of the images that all have."""
    found: dict[str, dict[str, list[float]]] = {}
    for cell in members:
        for image, value in cell["images"].get(score, {}).items():
            found.setdefault(cell["method"], {}).setdefault(image, []).append(value)
    if not found:
        return {}
    common = sorted(set.intersection(*(set(values) for values in found.values())))
    return {
        method: [math.fsum(values[image]) / len(values[image]) for image in common]
        for method, values in found.items()
    }


def _compare(
    lines: list[dict[str, Any]], images: Mapping[str, Sequence[float]], reference: str
) -> None:
    tests = {}
    for method, values in images.items():
        if method != reference and reference in images:
            p = paired(images[reference], values)
            if p is not None:
                tests[method] = p
    adjusted = holm(tests)
    for line in lines:
        line["p"] = adjusted.get(line["method"])


def to_csv(table: Sequence[Mapping[str, Any]]) -> str:
    """Return the table as CSV; numbers in full precision, empty where there is none."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for line in table:
        writer.writerow(
            repr(v) if isinstance(v, float) else "" if v is None else v
            for v in (line[column] for column in COLUMNS)
        )
    return text.getvalue()


def print_table(results: Mapping[str, Any], console: Console) -> None:
    """Print the means, one table for each data set and task; the best in bold."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for line in results["table"]:
        if "/" not in line["score"]:
            groups.setdefault((line["data"], line["task"]), []).append(line)
    for (data, task), lines in groups.items():
        scores = list(dict.fromkeys(line["score"] for line in lines))
        printed = Table(title=f"{data}: {task}")
        printed.add_column("method")
        for score in scores:
            printed.add_column(score, justify="right")
        for method in dict.fromkeys(line["method"] for line in lines):
            own = {line["score"]: line for line in lines if line["method"] == method}
            printed.add_row(
                method,
                *(
                    "-"
                    if score not in own
                    else f"[bold]{own[score]['mean']:.3f}[/bold]"
                    if own[score]["place"] == 1
                    else f"{own[score]['mean']:.3f}"
                    for score in scores
                ),
            )
        console.print(printed)
