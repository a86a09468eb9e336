"""The results of a suite: cells, rows of the table, ranks, and the file ``results.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from fusionkit.benchmark.predictions import decode_prediction, encode_prediction
from fusionkit.errors import FusionkitError
from fusionkit.interfaces import TaskResult
from fusionkit.io.atomic_write import write_json

__all__ = [
    "Cell",
    "DataSummary",
    "Ranks",
    "Row",
    "SuiteResults",
    "decode_result",
    "encode_result",
    "read_results",
]


@dataclass(frozen=True)
class Cell:
    """The result of one task for one method, data set and seed.

    Attributes:
        task: Name of the task in the suite.
        data: Name of the data set in the suite.
        method: Name of the method in the suite.
        seed: Random seed of the task; 0 if the task does not train.
        training_seed: Random seed that the method was trained with, if the suite names several.
        scored: Number of scored scenes.
        lower_is_better: Names of the scores that are better when lower.
        result: Scores, values per image, and the predictions for the first scenes.
    """

    task: str
    data: str
    method: str
    seed: int
    training_seed: int | None
    scored: int
    lower_is_better: tuple[str, ...]
    result: TaskResult

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as in ``results.json``."""
        return {
            "task": self.task,
            "data": self.data,
            "method": self.method,
            "seed": self.seed,
            "trained with": self.training_seed,
            "scored": self.scored,
            "lower": list(self.lower_is_better),
            **encode_result(self.result),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Cell:
        """Return the cell of the plain values."""
        return cls(
            task=values["task"],
            data=values["data"],
            method=values["method"],
            seed=values["seed"],
            training_seed=values.get("trained with"),
            scored=values["scored"],
            lower_is_better=tuple(values["lower"]),
            result=decode_result(values),
        )


@dataclass(frozen=True)
class Row:
    """One row of the table: one score of one method on one data set.

    Attributes:
        data: Name of the data set.
        task: Name of the task.
        score: Name of the score; the score of one class is named ``IoU/person``.
        better: Whether higher or lower values are better.
        method: Name of the method.
        mean: Mean over the seeds.
        std: Standard deviation over ``n`` values; None for a single value.
        low: Lower end of the 95 % confidence interval of the mean; None for a single value.
        high: Upper end of the 95 % confidence interval of the mean; None for a single value.
        n: Number of values that ``std`` and the confidence interval come from.
        over: Whether these are values of images or of seeds.
        place: 1 for the best mean; equal means share a place.
        p: p value of Wilcoxon's signed-rank test against the reference method, adjusted by Holm;
            None for the reference itself and where no test is possible.
    """

    data: str
    task: str
    score: str
    better: Literal["higher", "lower"]
    method: str
    mean: float
    std: float | None
    low: float | None
    high: float | None
    n: int
    over: Literal["images", "seeds"]
    place: int
    p: float | None


@dataclass(frozen=True)
class Ranks:
    """Mean ranks of the methods over the images of one data set, for one score.

    Attributes:
        data: Name of the data set.
        task: Name of the task.
        score: Name of the score.
        ranks: Method -> mean rank; 1 is the best.
        difference: Nemenyi's critical difference at 5 %.
        p: p value of Friedman's test of whether all methods are alike.
        images: Number of images.
    """

    data: str
    task: str
    score: str
    ranks: Mapping[str, float]
    difference: float
    p: float
    images: int


@dataclass(frozen=True)
class DataSummary:
    """A data set as the suite used it.

    Attributes:
        trained_on: Number of scenes that tasks train on; 0 if no task trains.
        scored: Number of scored scenes.
        content: Scene id -> hash of its images and labels, for the scored scenes.
    """

    trained_on: int
    scored: int
    content: Mapping[str, str]


@dataclass(frozen=True)
class SuiteResults:
    """Everything that ``results.json`` holds.

    Attributes:
        reference: Method that the paired tests compare the others with.
        table: Rows by data set, task, score and method.
        ranks: Mean ranks for the scores that have a value per image.
        suite: The configuration of the suite as plain values.
        versions: Package -> version, for the packages that results may depend on.
        environment: The machine.
        data: Data set -> how it was used.
        cells: One cell for each task, data set, method and seed.
    """

    reference: str
    table: tuple[Row, ...]
    ranks: tuple[Ranks, ...]
    suite: Mapping[str, Any]
    versions: Mapping[str, str]
    environment: Mapping[str, Any]
    data: Mapping[str, DataSummary]
    cells: tuple[Cell, ...]

    def write(self, path: Path) -> None:
        """Write ``results.json``."""
        write_json(
            path,
            {
                "reference": self.reference,
                "table": [asdict(row) for row in self.table],
                "ranks": [asdict(ranks) for ranks in self.ranks],
                "suite": dict(self.suite),
                "versions": dict(self.versions),
                "environment": dict(self.environment),
                "data": {
                    name: {
                        "trained on": data.trained_on,
                        "scored": data.scored,
                        "content": dict(data.content),
                    }
                    for name, data in self.data.items()
                },
                "cells": [cell.to_dict() for cell in self.cells],
            },
        )


def read_results(path: Path) -> SuiteResults:
    """Read a file ``results.json``.

    Raises:
        FusionkitError: if the file does not exist or is damaged.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return SuiteResults(
            reference=values["reference"],
            table=tuple(Row(**row) for row in values["table"]),
            ranks=tuple(Ranks(**ranks) for ranks in values["ranks"]),
            suite=values["suite"],
            versions=values["versions"],
            environment=values["environment"],
            data={
                name: DataSummary(data["trained on"], data["scored"], data["content"])
                for name, data in values["data"].items()
            },
            cells=tuple(Cell.from_dict(cell) for cell in values["cells"]),
        )
    except FileNotFoundError:
        raise FusionkitError(f"there is no file {path}; `fusionkit bench` writes one") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FusionkitError(
            f"{path}: expected the results of `fusionkit bench`: {type(error).__name__} {error}"
        ) from None


def encode_result(result: TaskResult) -> dict[str, Any]:
    """Return the result of a task as plain values, as the files of the cells hold them."""
    return {
        "scores": dict(result.scores),
        "images": {name: dict(values) for name, values in result.per_image.items()},
        "predictions": {
            name: encode_prediction(prediction) for name, prediction in result.predictions.items()
        },
    }


def decode_result(values: Mapping[str, Any]) -> TaskResult:
    """Return the result that :func:`encode_result` was given.

    Example:
        >>> decode_result({"scores": {"EN": 7.0}, "images": {}, "predictions": {}}).scores
        {'EN': 7.0}
    """
    return TaskResult(
        scores=values["scores"],
        per_image=values["images"],
        predictions={
            name: decode_prediction(prediction)
            for name, prediction in values["predictions"].items()
        },
    )
