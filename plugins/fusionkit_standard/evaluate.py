"""Stage ``evaluate``: scores what ``fuse`` wrote, and says whether fusion has collapsed."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

from fusionkit.evaluation.scores import Score, as_saved, grey_tensor, means, to_csv
from fusionkit.functional.collapse import intensity_shares, shares, unexplained, verdict
from fusionkit.interfaces import Metric, RunContext, Stage
from fusionkit.io.atomic_write import write_json, write_text
from fusionkit.io.images import list_images, read_image
from fusionkit.progress import ProgressBar
from fusionkit_standard.pairs import pairs_to_judge

logger = logging.getLogger("fusionkit")


class Evaluate(Stage):
    """Score the fused images as saved, for the backbone and the baselines.

    Writes ``metrics.json`` (means and spread per method, the verdict on collapse) and one
    ``scores/METHOD.csv`` per method with the columns image, metric, value.

    Args:
        metrics: Names of metrics; all of the profile if left out.
        profile: Whose conventions.
    """

    name = "evaluate"

    def __init__(self, metrics: tuple[str, ...] | None = None, profile: str = "cddfuse"):
        self.metrics = metrics
        self.profile = profile

    def check(self, run: RunContext) -> None:
        """All metrics must exist in the profile."""
        self._metrics(run)

    def requires(self, run: RunContext) -> tuple[str, ...]:
        """The fused images of each method."""
        return ("grey",)

    def produces(self, run: RunContext) -> tuple[str, ...]:
        """Means, and the score of each image."""
        return ("metrics.json", "scores")

    def run(self, run: RunContext) -> None:
        """Score every method on every pair, on the first process."""
        if not run.is_first:
            return
        metrics = self._metrics(run)
        dataset, indices = pairs_to_judge(run)
        by_id = {dataset[index].id: index for index in indices}
        methods = sorted(path.name for path in (run.folder / "grey").iterdir())
        methods.sort(key=lambda name: name != run.config.backbone.name)
        scores: dict[str, list[Score]] = {method: [] for method in methods}
        measures: dict[str, list[tuple[list[float], list[float], float]]] = {}
        files = {method: list_images(run.folder / "grey" / method) for method in methods}
        with ProgressBar("evaluate", len(methods) * len(files[methods[0]])) as bar:
            for method in methods:
                for name, path in files[method].items():
                    sample = dataset[by_id[name]]
                    fused = grey_tensor(read_image(path))
                    sources = {m: as_saved(sample.images[m]) for m in run.config.modalities}
                    for metric in metrics:
                        value = float(metric(fused, sources)[0])
                        scores[method].append(Score(name, metric.name, value))
                    images = list(sources.values())
                    measures.setdefault(method, []).append(
                        (
                            shares(fused, images)[0].tolist(),
                            intensity_shares(fused, images)[0].tolist(),
                            float(unexplained(fused, images)[0]),
                        )
                    )
                    bar.step()
        folder = run.folder / "scores"
        folder.mkdir(exist_ok=True)
        for method, found in scores.items():
            write_text(folder / f"{method}.csv", to_csv(found))
        result = {
            "profile": self.profile,
            "images": len(files[methods[0]]),
            "better": {m.name: "higher" if m.higher_is_better else "lower" for m in metrics},
            "methods": {
                method: {
                    name: {"mean": mean, "std": spread}
                    for name, (mean, spread) in means(found).items()
                }
                for method, found in scores.items()
            },
            "carries": {
                method: _verdict(run.config.modalities, found) for method, found in measures.items()
            },
        }
        write_json(run.folder / "metrics.json", result)
        run.log.write(0, {name: v["mean"] for name, v in result["methods"][methods[0]].items()})
        if problem := result["carries"][methods[0]]["problem"]:
            logger.warning("%s", problem)

    def _metrics(self, run: RunContext) -> list[Metric]:
        return run.components.build_metrics(self.profile, self.metrics)


def _verdict(
    modalities: Sequence[str], found: Sequence[tuple[list[float], list[float], float]]
) -> dict[str, Any]:
    def mean(values: Sequence[float]) -> float:
        return math.fsum(values) / len(values)

    gradients = {m: mean([f[0][k] for f in found]) for k, m in enumerate(modalities)}
    intensities = {m: mean([f[1][k] for f in found]) for k, m in enumerate(modalities)}
    judged = verdict(gradients, intensities, mean([f[2] for f in found]))
    return {
        "gradients": judged.shares,
        "intensities": judged.intensities,
        "unexplained": judged.unexplained,
        "problem": judged.problem,
    }
