"""The report of a benchmark as a page: any names, and every case of its sentences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fusionkit.reporting.benchmark_report import (
    BenchmarkReport,
    BenchmarkSection,
    PictureGrid,
    ScoredData,
    Swatch,
    render_benchmark_report,
)
from fusionkit.reporting.charts import rank_chart
from fusionkit.reporting.pages import embed_picture
from fusionkit.reporting.tables import Cell, Row, Table


def make_report(name: str = "x") -> BenchmarkReport:
    """Return a report in which everything has the same name."""
    marks = ("best", "differs")
    table = Table(("method", name), (Row(name, (Cell("0.5", "0.1", marks, name),), True),))
    ranks = rank_chart(name, {name: 1.2, "b": 1.8, "c": 3.0}, difference=1.0, p=0.01, images=12)
    picture = embed_picture(np.zeros((4, 6, 3), np.uint8), name)
    return BenchmarkReport(
        name=name,
        methods=3,
        data=(ScoredData(name, 12, 4), ScoredData("tno", 21, 0)),
        colour=name,
        reference=name,
        sections=(
            BenchmarkSection(name, name, table, ("12 images",), table, ("3 seeds",), (ranks,)),
        ),
        grids=(PictureGrid(name, (Swatch(name, "#ff0000"),), ((picture, picture), (picture,))),),
        configuration=f"name: {name}",
        environment=f'{{"a": "{name}"}}',
    )


def test_names_from_strangers_stay_text(read_page, hostile):
    page = read_page(render_benchmark_report(make_report(hostile)))
    assert page.count == read_page(render_benchmark_report(make_report("x"))).count
    assert page.text.count(hostile) >= 18
    assert sum(hostile in value for value in page.values) >= 5  # title, aria-label, alt


def test_the_summary_counts_scenes_and_says_which_colour(read_page):
    report = make_report()
    text = " ".join(read_page(render_benchmark_report(report)).text.split())
    assert "3 methods on x (12 scored, 4 trained on), tno (21 scored); every method" in text
    grey = " ".join(read_page(render_benchmark_report(replace(report, colour="none"))).text.split())
    assert "tno (21 scored); all methods as grey images." in grey
