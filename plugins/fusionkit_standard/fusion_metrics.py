"""Task ``fusion-metrics``: the fused images by fusion metrics, nothing trained."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from fusionkit.evaluation.scores import as_saved, installed_metrics
from fusionkit.interfaces import Sample, Task, TaskContext, TaskResult


class FusionMetrics(Task):
    """Score fused images against their sources, image by image; scores are means.

    Args:
        profile: Whose conventions.
        metrics: Names of metrics; all of the profile if left out.
    """

    name = "fusion-metrics"
    trains = False

    def __init__(self, profile: str = "cddfuse", metrics: tuple[str, ...] | None = None):
        self._metrics = installed_metrics(profile, metrics)
        self.lower_is_better = tuple(m.name for m in self._metrics if not m.higher_is_better)
        self._modalities: tuple[str, ...] = ()

    def fit(self, train: Sequence[Sample], context: TaskContext) -> None:
        """Remember the modalities; nothing is trained."""
        self._modalities = context.modalities

    def score(self, test: Sequence[Sample]) -> TaskResult:
        """Return each metric as the mean over the images, and its value for each image."""
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
