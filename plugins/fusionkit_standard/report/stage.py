"""Stage ``report``: writes ``report.html``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from numpy.typing import NDArray
from pydantic import Field

from fusionkit.errors import FusionkitError
from fusionkit.functional.colour import join_chroma
from fusionkit.interfaces import ComponentSpec, RunContext, Sample, Stage
from fusionkit.io.atomic_write import write_text
from fusionkit.io.images import from_float, list_images, read_image
from fusionkit.reporting.pages import embed_picture
from fusionkit.reporting.run_report import (
    Carried,
    Collapse,
    FusedPair,
    MeanScore,
    RunReport,
    ScoredPairs,
    Scores,
    TrainingPairs,
    collapse_table,
    render_run_report,
    score_table,
    training_charts,
)
from fusionkit_standard.evaluation_pairs import select_evaluation_pairs


class Report(Stage):
    """Write a page that a person can read: results, pictures, curves, configuration.

    It is a single file that loads nothing from elsewhere.

    Args:
        pairs: How many pairs to show, spread evenly over all.
    """

    name = "report"

    def __init__(self, pairs: Annotated[int, Field(ge=0)] = 8):
        self.pairs = pairs

    def produces(self, run: RunContext) -> tuple[str, ...]:
        """The page."""
        return ("report.html",)

    def run(self, run: RunContext) -> None:
        """Write the page, on the first process."""
        if not run.is_first:
            return
        path, config = run.folder / "metrics.json", run.config
        try:
            metrics = _read_json(path)
            scored_on, scores = _scored_on(run, metrics), _scores(run, metrics)
            collapse = _collapse(run, metrics)
        except FusionkitError:
            raise
        except Exception as error:  # its values may be of any type and shape
            raise FusionkitError(
                f"{path} is damaged ({type(error).__name__}: {str(error)[:200]}); delete it, and "
                f"add --restart to run the stage again that writes it"
            ) from error
        report = RunReport(
            name=config.name,
            backbone=config.backbone.name,
            modalities=config.modalities,
            seed=config.seed,
            trained_on=_trained_on(run),
            scored_on=scored_on,
            scores=scores,
            collapse=collapse,
            pairs=self._pairs(run),
            charts=training_charts(run.log.read()),
            configuration=config.to_yaml(),
            environment=json.dumps(_read_json(run.folder / "environment.json"), indent=2),
        )
        write_text(run.folder / "report.html", render_run_report(report))

    def _pairs(self, run: RunContext) -> tuple[FusedPair, ...]:
        folder = run.folder / "fused"
        if not folder.is_dir() or self.pairs == 0:
            return ()
        files = list_images(folder)
        dataset, indices = select_evaluation_pairs(run)
        names = list(files)
        step = max(1, len(names) / self.pairs)
        shown = [names[int(k * step)] for k in range(min(self.pairs, len(names)))]
        by_id = {dataset.id(index): index for index in indices}
        pairs = []
        for name in shown:
            sample = dataset[by_id[name]]
            sources = (embed_picture(_as_seen(sample, m), m) for m in sample.images)
            pairs.append(
                FusedPair(name, tuple(sources), embed_picture(read_image(files[name]), "fused"))
            )
        return tuple(pairs)


def _as_seen(sample: Sample, modality: str) -> NDArray[Any]:
    """Return a source as its camera saw it: the colour source in colour."""
    image = sample.images[modality]
    if modality == sample.colour and sample.chroma is not None:
        return from_float(join_chroma(image, sample.chroma).movedim(0, -1).numpy(), "uint8")
    return from_float(image[0].numpy(), "uint8")


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _trained_on(run: RunContext) -> TrainingPairs | None:
    if not run.checkpoints.exists("backbone"):
        return None
    train = run.components.data.splits()["train"]
    return TrainingPairs(_describe(run.config.data), len(train))


def _scored_on(run: RunContext, metrics: dict[str, Any]) -> ScoredPairs | None:
    if not metrics:
        return None
    config = run.config
    held_out = config.test is None and run.checkpoints.exists("backbone")
    return ScoredPairs(_describe(config.test or config.data), metrics["images"], held_out)


def _describe(data: ComponentSpec) -> str:
    """Return the name of a data set, with the names of its parts if it has any."""
    parts = [
        name
        for argument in data.arguments.values()
        if isinstance(argument, Mapping)
        for name, part in argument.items()
        if isinstance(part, ComponentSpec)
    ]
    return f"{data.name} ({', '.join(parts)})" if parts else data.name


def _scores(run: RunContext, metrics: dict[str, Any]) -> Scores | None:
    if not metrics:
        return None
    methods = {
        method: {metric: MeanScore(**values) for metric, values in found.items()}
        for method, found in metrics["methods"].items()
    }
    table = score_table(methods, metrics["better"], run.config.backbone.name)
    return Scores(table, metrics["images"], metrics["profile"])


def _collapse(run: RunContext, metrics: dict[str, Any]) -> Collapse | None:
    found = metrics.get("carries", {})
    if not found:
        return None
    methods = {
        method: Carried(values["gradients"], values["intensities"], values["unexplained"])
        for method, values in found.items()
    }
    problem = next(iter(found.values()))["problem"]
    return Collapse(problem or "", collapse_table(methods, run.config.modalities))
