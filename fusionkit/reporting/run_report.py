"""The report of a run: scores, pictures, training curves, configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fusionkit.reporting.charts import LineChart, line_chart
from fusionkit.reporting.pages import Picture, render_page
from fusionkit.reporting.tables import Cell, Row, Table

__all__ = [
    "Carried",
    "Collapse",
    "FusedPair",
    "MeanScore",
    "RunReport",
    "ScoredPairs",
    "Scores",
    "TrainingPairs",
    "collapse_table",
    "render_run_report",
    "score_table",
    "training_charts",
]


@dataclass(frozen=True)
class TrainingPairs:
    """The pairs that the fusion network was trained on.

    Attributes:
        dataset: Name of the data set.
        count: Number of pairs in its training split.
    """

    dataset: str
    count: int


@dataclass(frozen=True)
class ScoredPairs:
    """The pairs that the scores come from.

    Attributes:
        dataset: Name of the data set.
        count: Number of pairs.
        held_out: Whether the network was trained on other pairs of the same data set.
    """

    dataset: str
    count: int
    held_out: bool


@dataclass(frozen=True)
class MeanScore:
    """A score of one method over all images.

    Attributes:
        mean: Mean.
        std: Standard deviation.
    """

    mean: float
    std: float


@dataclass(frozen=True)
class Scores:
    """The table of scores, and how they were computed.

    Attributes:
        table: One row per method, one column per metric.
        images: Number of images.
        profile: Name of the metric profile.
    """

    table: Table
    images: int
    profile: str


@dataclass(frozen=True)
class Carried:
    """What the fused images of one method carry of their sources.

    Attributes:
        gradients: Modality -> share of its gradients, 1 for all of them.
        intensities: Modality -> weight of its intensities.
        unexplained: Share of the gradients that come from no source.
    """

    gradients: Mapping[str, float]
    intensities: Mapping[str, float]
    unexplained: float


@dataclass(frozen=True)
class Collapse:
    """Whether fusing has collapsed to a copy of one source.

    Attributes:
        problem: What is wrong with the fused images of the run; empty for nothing.
        table: One row per method.
    """

    problem: str
    table: Table


@dataclass(frozen=True)
class FusedPair:
    """One scene of the report.

    Attributes:
        name: Name of the scene.
        sources: The sources; the modality is the caption.
        fused: The fused image.
    """

    name: str
    sources: tuple[Picture, ...]
    fused: Picture


@dataclass(frozen=True)
class RunReport:
    """All that the report of a run shows.

    Attributes:
        name: Name of the run.
        backbone: Name of the fusion network.
        modalities: Names of the sources.
        seed: Random seed of the run.
        trained_on: Training pairs; None if the fusion network was not trained.
        scored_on: Scored pairs; None if nothing was scored.
        scores: The scores, if there are any.
        collapse: The verdict on collapse, if there is one.
        pairs: Scenes to show.
        charts: Training curves.
        configuration: The configuration as YAML.
        environment: The environment as JSON.
    """

    name: str
    backbone: str
    modalities: tuple[str, ...]
    seed: int
    trained_on: TrainingPairs | None
    scored_on: ScoredPairs | None
    scores: Scores | None
    collapse: Collapse | None
    pairs: tuple[FusedPair, ...]
    charts: tuple[LineChart, ...]
    configuration: str
    environment: str


def render_run_report(report: RunReport) -> str:
    """Return the report as one HTML file that needs nothing beside it.

    Example:
        >>> page = render_run_report(
        ...     RunReport(
        ...         name="first try",
        ...         backbone="average",
        ...         modalities=("infrared", "visible"),
        ...         seed=0,
        ...         trained_on=None,
        ...         scored_on=ScoredPairs("tno", 1, held_out=False),
        ...         scores=None,
        ...         collapse=None,
        ...         pairs=(),
        ...         charts=(),
        ...         configuration="name: first try",
        ...         environment="{}",
        ...     )
        ... )
        >>> "scored on 1 pair of <b>tno</b>" in page
        True
    """
    return render_page("run.html", report)


def score_table(
    methods: Mapping[str, Mapping[str, MeanScore]],
    better: Mapping[str, Literal["higher", "lower"]],
    own: str,
) -> Table:
    """Return the table of scores; the best mean of each column is marked.

    Args:
        methods: Method -> metric -> score.
        better: Metric -> whether higher or lower is better; its order is that of the columns.
        own: The method of the run, which is highlighted.

    Example:
        >>> methods = {"net": {"MSE": MeanScore(0.2, 0.1)}, "max": {"MSE": MeanScore(0.3, 0.1)}}
        >>> table = score_table(methods, {"MSE": "lower"}, "net")
        >>> table.columns, table.rows[0].cells[0].text, table.rows[0].cells[0].marks
        (('method', 'MSE ↓'), '0.200', ('best',))
    """
    best = {
        metric: (max if way == "higher" else min)(
            scores[metric].mean for scores in methods.values()
        )
        for metric, way in better.items()
    }
    return Table(
        ("method", *(f"{name} {'↑' if way == 'higher' else '↓'}" for name, way in better.items())),
        tuple(
            Row(
                method,
                tuple(
                    Cell(
                        f"{scores[metric].mean:.3f}",
                        f"{scores[metric].std:.3f}",
                        ("best",) if scores[metric].mean == best[metric] else (),
                    )
                    for metric in better
                ),
                highlighted=method == own,
            )
            for method, scores in methods.items()
        ),
    )


def collapse_table(methods: Mapping[str, Carried], modalities: Sequence[str]) -> Table:
    """Return the table of what fused images carry of their sources.

    Args:
        methods: Method -> what its fused images carry.
        modalities: Names of the sources.

    Example:
        >>> carried = Carried({"ir": 0.5, "vi": 0.75}, {"ir": 0.4, "vi": 0.6}, 0.012)
        >>> [cell.text for cell in collapse_table({"net": carried}, ("ir", "vi")).rows[0].cells]
        ['50%', '75%', '0.40', '0.60', '1.2%']
    """
    return Table(
        (
            "method",
            *(f"gradients of {modality}" for modality in modalities),
            *(f"intensities of {modality}" for modality in modalities),
            "from no source",
        ),
        tuple(
            Row(
                method,
                (
                    *(Cell(f"{carried.gradients[modality]:.0%}") for modality in modalities),
                    *(Cell(f"{carried.intensities[modality]:.2f}") for modality in modalities),
                    Cell(f"{carried.unexplained:.1%}"),
                ),
            )
            for method, carried in methods.items()
        ),
    )


_NO_CURVES = ("time", "stage", "step", "lr", "compile_seconds")


def training_charts(entries: Iterable[Mapping[str, Any]]) -> tuple[LineChart, ...]:
    """Return the training curves: for each stage one chart of training, one of held-out pairs.

    Args:
        entries: Entries of the log with ``stage``, ``step`` and values. Values whose key begins
            with ``val/`` are of held-out pairs. Entries of step 0 are not from training.

    Example:
        >>> entries = [{"stage": "0-train", "step": step, "loss": 1 / step} for step in (1, 2)]
        >>> [chart.title for chart in training_charts(entries)]
        ['0-train, training']
    """
    groups: dict[tuple[str, str], dict[str, list[tuple[float, float]]]] = {}
    for entry in entries:
        if entry["step"] <= 0:
            continue
        for group in ("training", "held out"):  # so that a stage's charts are in this order
            groups.setdefault((entry["stage"], group), {})
        for key, value in entry.items():
            if key in _NO_CURVES or not isinstance(value, float | int):
                continue
            group = "held out" if key.startswith("val/") else "training"
            series = groups[entry["stage"], group].setdefault(key, [])
            series.append((entry["step"], float(value)))
    charts = (line_chart(f"{stage}, {group}", series) for (stage, group), series in groups.items())
    return tuple(chart for chart in charts if chart is not None)
