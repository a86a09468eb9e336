"""Task ``fusion-metrics``: the fused images by fusion metrics, nothing trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from fusionkit.api import installed
from fusionkit.interfaces import Sample, Task
from fusionkit.scoring import as_saved, metrics_of


class FusionMetrics(Task):
    """Score fused images against their sources, image by image; scores are means.

    Args:
        profile: Whose conventions.
        metrics: Names of metrics; all of the profile if left out.
    """

    name = "fusion-metrics"
    trains = False

    def __init__(self, profile: str = "cddfuse", metrics: tuple[str, ...] | None = None):
        self._metrics = metrics_of(installed().registry, profile, metrics)
        self.lower_is_better = tuple(m.name for m in self._metrics if not m.higher_is_better)
        self._values: dict[str, dict[str, float]] = {}

    def fit(self, train: Sequence[Sample]) -> None:
        """Nothing to train."""

    def score(self, test: Sequence[Sample]) -> Mapping[str, float]:
        """Return metric -> mean over the images."""
        self._values = {metric.name: {} for metric in self._metrics}
        for sample in test:
            fused = sample.images["fused"][None]
            names = self.context.modalities or tuple(n for n in sample.images if n != "fused")
            sources = {name: as_saved(sample.images[name]) for name in names}
            for metric in self._metrics:
                self._values[metric.name][sample.id] = float(metric(fused, sources)[0])
        return {
            name: float(torch.tensor(list(values.values()), dtype=torch.float64).mean())
            for name, values in self._values.items()
        }

    def per_image(self) -> Mapping[str, Mapping[str, float]]:
        """Return metric -> scene id -> value."""
        return self._values
