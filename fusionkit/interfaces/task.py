"""Downstream tasks that judge fused images: segmentation, detection and the like."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor

from fusionkit.interfaces.component import Component
from fusionkit.interfaces.sample import Sample

__all__ = ["ImageTask", "Task", "TaskContext", "TaskResult"]


@dataclass(frozen=True)
class TaskContext:
    """What a task may know besides its samples.

    Attributes:
        seed: Random seed; everything random in the task must depend on it alone.
        folder: Empty working folder; the host removes it afterwards.
        accelerator: ``cpu``, ``cuda`` or ``mps``.
        mask_classes: Class names of the data set's masks, by index.
        box_classes: Class names of the data set's boxes, by index.
        modalities: Names of the sources; the samples hold the image ``fused`` as well.
    """

    seed: int = 0
    folder: Path = Path()
    accelerator: str = "cpu"
    mask_classes: tuple[str, ...] = ()
    box_classes: tuple[str, ...] = ()
    modalities: tuple[str, ...] = ()


@dataclass(frozen=True)
class TaskResult:
    """What a task found on the test samples.

    Attributes:
        scores: Score name -> value over all test samples; the score of one class is named
            ``IoU/person``.
        per_image: Score name -> sample id -> value, for scores that have a value per image. Paired
            tests over images need it.
        predictions: Sample id -> predicted mask (h, w) int64, or boxes (n, 6) float32 with rows
            class, cx, cy, width, height, confidence, relative to the image. Reports show them.
    """

    scores: Mapping[str, float]
    per_image: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    predictions: Mapping[str, Tensor] = field(default_factory=dict)


class Task(Component, ABC):
    """A downstream task that fused images are judged by.

    Its samples hold the fused luminance as the image ``fused`` beside the sources. ``chroma`` is
    the colour that the comparison gives to every method alike, if any. The labels are in ``mask``
    (h, w) and ``boxes`` (n, 5) with rows class, cx, cy, width, height, relative to the image.
    """

    kind = "task"
    trains: ClassVar[bool] = True
    """Whether ``fit`` trains, so that the scores depend on the seed."""
    labels: ClassVar[Literal["masks", "boxes"] | None] = None
    """Which labels of the samples the task needs."""
    lower_is_better: tuple[str, ...] = ()
    """Names of the scores that are better when lower."""

    @abstractmethod
    def fit(self, train: Sequence[Sample], context: TaskContext) -> None:
        """Train, from the same initial weights for every fusion method.

        Args:
            train: Training samples; none if ``trains`` is False.
            context: Seed, working folder, accelerator and class names.
        """

    @abstractmethod
    def score(self, test: Sequence[Sample]) -> TaskResult:
        """Score the test samples with what ``fit`` trained."""


class ImageTask(Task):
    """A task that trains nothing and scores each image on its own.

    A score over all test samples is the mean of those of the images. ``score_image`` is called in
    several threads at once and, on a cluster, in other processes, so the task must be picklable.
    """

    trains = False

    @abstractmethod
    def score_image(self, sample: Sample) -> Mapping[str, float]:
        """Return score name -> value for one sample, with the same names for all samples."""

    def score(self, test: Sequence[Sample]) -> TaskResult:
        """Score the test samples one after another."""
        return self.summarize({sample.id: self.score_image(sample) for sample in test})

    @staticmethod
    def summarize(scores: Mapping[str, Mapping[str, float]]) -> TaskResult:
        """Return the mean of each score, and its value for each image.

        Args:
            scores: Sample id -> what ``score_image`` gave.

        Example:
            >>> ImageTask.summarize({"a": {"EN": 6.0}, "b": {"EN": 8.0}}).scores
            {'EN': 7.0}
        """
        names = next(iter(scores.values()), {})
        per_image = {name: {id: found[name] for id, found in scores.items()} for name in names}
        means = {
            name: float(torch.tensor(list(found.values()), dtype=torch.float64).mean())
            for name, found in per_image.items()
        }
        return TaskResult(means, per_image)
