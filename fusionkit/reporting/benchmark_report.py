"""The report of a benchmark: tables, ranks, pictures, and what was run."""

from __future__ import annotations

from dataclasses import dataclass

from fusionkit.reporting.charts import RankChart
from fusionkit.reporting.pages import Picture, render_page
from fusionkit.reporting.tables import Table

__all__ = [
    "BenchmarkReport",
    "BenchmarkSection",
    "PictureGrid",
    "ScoredData",
    "Swatch",
    "render_benchmark_report",
]


@dataclass(frozen=True)
class ScoredData:
    """A data set of the benchmark.

    Attributes:
        name: Name of the data set.
        scored: Number of scored scenes.
        trained_on: Number of scenes that tasks train on; 0 if no task trains.
    """

    name: str
    scored: int
    trained_on: int


@dataclass(frozen=True)
class BenchmarkSection:
    """The scores of one task on one data set.

    Attributes:
        data: Name of the data set.
        task: Name of the task.
        table: One row per method, one column per score.
        counts: What the standard deviations are over, such as ``40 images``.
        by_class: The scores of single classes, if there are any.
        class_counts: What the standard deviations of ``by_class`` are over.
        ranks: A chart for each score with a value per image.
    """

    data: str
    task: str
    table: Table
    counts: tuple[str, ...]
    by_class: Table | None
    class_counts: tuple[str, ...]
    ranks: tuple[RankChart, ...]


@dataclass(frozen=True)
class Swatch:
    """An entry of a legend.

    Attributes:
        name: Its text.
        colour: Its colour, ``#rrggbb``.
    """

    name: str
    colour: str


@dataclass(frozen=True)
class PictureGrid:
    """Pictures of some scenes: one row per scene, one column per method.

    Attributes:
        title: Heading of the grid.
        legend: Colours of the classes; empty for none.
        rows: The pictures of each scene.
    """

    title: str
    legend: tuple[Swatch, ...]
    rows: tuple[tuple[Picture, ...], ...]


@dataclass(frozen=True)
class BenchmarkReport:
    """All that the report of a benchmark shows.

    Attributes:
        name: Name of the suite.
        methods: Number of methods.
        data: The data sets.
        colour: Modality whose colour the images have, or ``none``.
        reference: Method that the paired tests compare the others with.
        sections: The scores by data set and task.
        grids: The pictures.
        configuration: The suite as YAML.
        environment: Versions and environment as JSON.
    """

    name: str
    methods: int
    data: tuple[ScoredData, ...]
    colour: str
    reference: str
    sections: tuple[BenchmarkSection, ...]
    grids: tuple[PictureGrid, ...]
    configuration: str
    environment: str


def render_benchmark_report(report: BenchmarkReport) -> str:
    """Return the report as one HTML file that needs nothing beside it.

    Example:
        >>> page = render_benchmark_report(
        ...     BenchmarkReport(
        ...         name="small",
        ...         methods=2,
        ...         data=(ScoredData("tno", 21, 0),),
        ...         colour="none",
        ...         reference="average",
        ...         sections=(),
        ...         grids=(),
        ...         configuration="name: small",
        ...         environment="{}",
        ...     )
        ... )
        >>> "2 methods on tno (21 scored); all methods as grey images" in page
        True
    """
    return render_page("benchmark.html", report)
