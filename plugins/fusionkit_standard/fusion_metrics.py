"""Task ``fusion-metrics``: fusion metrics of the fused images, without training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fusionkit.evaluation.scores import as_saved, installed_metrics
from fusionkit.interfaces import ImageTask, Sample, TaskContext


class FusionMetrics(ImageTask):
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

    def __init__(self, profile: str = "cddfuse", metrics: tuple[str, ...] | None = None):
        self._metrics = installed_metrics(profile, metrics)
        self.lower_is_better = tuple(m.name for m in self._metrics if not m.higher_is_better)
        self._modalities: tuple[str, ...] = ()

    def fit(self, train: Sequence[Sample], context: TaskContext) -> None:
        """Remember the names of the sources."""
        self._modalities = context.modalities

    def score_image(self, sample: Sample) -> Mapping[str, float]:
        """Return the value of each metric."""
        fused = sample.images["fused"][None]
        names = self._modalities or tuple(n for n in sample.images if n != "fused")
        sources = {name: as_saved(sample.images[name]) for name in names}
        return {metric.name: float(metric(fused, sources)[0]) for metric in self._metrics}
