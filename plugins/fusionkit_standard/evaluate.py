"""Stage ``evaluate``: scores what ``fuse`` wrote, and says whether fusion has collapsed."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from fusionkit.evaluation.scores import Score, as_saved, grey_tensor, means, to_csv
from fusionkit.functional.collapse import intensity_shares, shares, unexplained, verdict
from fusionkit.interfaces import Metric, RunContext, Stage
from fusionkit.io.atomic_write import make_folder, write_json, write_text
from fusionkit.io.images import list_images, read_image
from fusionkit.progress import ProgressBar
from fusionkit_standard.evaluation_pairs import select_evaluation_pairs

logger = logging.getLogger("fusionkit")


class Evaluate(Stage):
    """Score the fused images as saved, for the backbone and the baselines.

    Writes ``metrics.json`` (mean and standard deviation per method, and whether fusion has
    collapsed) and ``scores/METHOD.csv`` for each method with the columns image, metric, value.

    Args:
        metrics: Names of metrics; by default all of the profile.
        profile: Metric profile, that is, whose conventions.

    Example:
        >>> import fusionkit as fk
        >>> fk.build("stage", name="evaluate", metrics=["EN", "VIF"]).metrics
        ('EN', 'VIF')
    """

    name = "evaluate"

    def __init__(self, metrics: tuple[str, ...] | None = None, profile: str = "cddfuse"):
        self.metrics = metrics
        self.profile = profile

    def requires(self, run: RunContext) -> tuple[str, ...]:
        """Require the fused luminance of each method."""
        return ("grey",)

    def produces(self, run: RunContext) -> tuple[str, ...]:
        """Produce the means, and the scores of each image."""
        return ("metrics.json", "scores")

    def check(self, run: RunContext) -> None:
        """Raise FusionkitError if a metric does not exist in the profile."""
        self._build_metrics(run)

    def run(self, run: RunContext) -> None:
        """Score every method on every pair, on the first process."""
        if not run.is_first:
            return
        metrics = self._build_metrics(run)
        dataset, indices = select_evaluation_pairs(run)
        index_of = {dataset[index].id: index for index in indices}
        own = run.config.backbone.name
        methods = sorted(path.name for path in (run.folder / "grey").iterdir())
        methods.sort(key=lambda name: name != own)
        images = {method: list_images(run.folder / "grey" / method) for method in methods}
        scores: dict[str, list[Score]] = {method: [] for method in methods}
        content: dict[str, list[_Content]] = {method: [] for method in methods}
        with ProgressBar("evaluate", len(methods) * len(images[methods[0]])) as bar:
            for method in methods:
                for name, path in images[method].items():
                    sample = dataset[index_of[name]]
                    fused = grey_tensor(read_image(path))
                    sources = {m: as_saved(sample.images[m]) for m in run.config.modalities}
                    for metric in metrics:
                        value = float(metric(fused, sources)[0])
                        scores[method].append(Score(name, metric.name, value))
                    content[method].append(_content_of(fused, list(sources.values())))
                    bar.step()
        make_folder(run.folder / "scores")
        for method, found in scores.items():
            write_text(run.folder / "scores" / f"{method}.csv", to_csv(found))
        summary = {
            method: {
                name: {"mean": mean, "std": spread} for name, (mean, spread) in means(found).items()
            }
            for method, found in scores.items()
        }
        carries = {
            method: _verdict(run.config.modalities, found) for method, found in content.items()
        }
        result = {
            "profile": self.profile,
            "images": len(images[methods[0]]),
            "better": {m.name: "higher" if m.higher_is_better else "lower" for m in metrics},
            "methods": summary,
            "carries": carries,
        }
        write_json(run.folder / "metrics.json", result)
        run.log.write(0, {name: value["mean"] for name, value in summary[methods[0]].items()})
        if problem := carries[methods[0]]["problem"]:
            logger.warning("%s", problem)

    def _build_metrics(self, run: RunContext) -> list[Metric]:
        return run.components.build_metrics(self.profile, self.metrics)


@dataclass(frozen=True)
class _Content:
    """How much of each source one fused image carries; see ``fusionkit.functional.collapse``."""

    gradients: Sequence[float]
    intensities: Sequence[float]
    unexplained: float


def _content_of(fused: Tensor, sources: Sequence[Tensor]) -> _Content:
    images = list(sources)
    return _Content(
        shares(fused, images)[0].tolist(),
        intensity_shares(fused, images)[0].tolist(),
        float(unexplained(fused, images)[0]),
    )


def _verdict(modalities: Sequence[str], found: Sequence[_Content]) -> Mapping[str, Any]:
    """Return what the images carry in the mean, and the problem if fusion has collapsed."""

    def mean(values: Sequence[float]) -> float:
        return math.fsum(values) / len(values)

    judged = verdict(
        {m: mean([content.gradients[k] for content in found]) for k, m in enumerate(modalities)},
        {m: mean([content.intensities[k] for content in found]) for k, m in enumerate(modalities)},
        mean([content.unexplained for content in found]),
    )
    return {
        "gradients": judged.shares,
        "intensities": judged.intensities,
        "unexplained": judged.unexplained,
        "problem": judged.problem,
    }
