"""Task ``fusion-metrics``: fusion metrics of the fused images, without training."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from fusionkit.evaluation.scores import as_saved, installed_metrics
from fusionkit.interfaces import Sample, Task, TaskContext, TaskResult


class FusionMetrics(Task):
    """Fusion metrics of the fused images as a task of a benchmark; trains nothing.

    The score of each metric is its mean over the test images.

    Args:
        profile: Evaluation code whose conventions to follow, such as ``cddfuse``.
        metrics: Names of the metrics; None for all metrics of the profile.

    Example:
        >>> import torch
        >>> import fusionkit as fk
        >>> from fusionkit.interfaces import Sample
        >>> task = fk.build("task", name="fusion-metrics", metrics=["EN"])
        >>> checkerboard = torch.tensor([0.0, 1.0]).repeat(1, 8, 4)
        >>> sources = {"infrared": checkerboard, "visible": checkerboard}
        >>> task.score([Sample("00017", {**sources, "fused": checkerboard})]).scores
        {'EN': 1.0}
    """

    name = "fusion-metrics"
    trains = False

    def __init__(self, profile: str = "cddfuse", metrics: tuple[str, ...] | None = None):
        self._metrics = installed_metrics(profile, metrics)
        self.lower_is_better = tuple(m.name for m in self._metrics if not m.higher_is_better)
        self._modalities: tuple[str, ...] = ()

    def fit(self, train: Sequence[Sample], context: TaskContext) -> None:
        """Remember the names of the sources."""
        self._modalities = context.modalities

    def score(self, test: Sequence[Sample]) -> TaskResult:
        """Return the mean of each metric, and its value for each image."""
        values: dict[str, dict[str, float]] = {metric.name: {} for metric in self._metrics}
        for sample in test:
            fused = sample.images["fused"][None]
            names = self._modalities or tuple(n for n in sample.images if n != "fused")
            sources = {name: as_saved(sample.images[name]) for name in names}
            for metric in self._metrics:
                values[metric.name][sample.id] = float(metric(fused, sources)[0])
        means = {
            name: float(torch.tensor(list(found.values()), dtype=torch.float64).mean())
            for name, found in values.items()
        }
        return TaskResult(means, values)
