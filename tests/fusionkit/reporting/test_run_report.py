"""The report of a run: what it says, for what was done, in any names."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

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


def make_report(name: str = "x") -> RunReport:
    """Return a report in which everything has the same name."""
    methods = {name: {name: MeanScore(1.0, 0.1)}, "average": {name: MeanScore(0.5, 0.2)}}
    carried = {name: Carried({name: 0.5}, {name: 0.4}, 0.01)}
    pixels = np.zeros((4, 6), np.uint8)
    log = [
        {"time": 1.0, "stage": name, "step": step, name: 1 / step, "val/x": 0.5, "lr": 0.1}
        for step in (1, 2)
    ]
    return RunReport(
        name=name,
        backbone=name,
        modalities=(name, name),
        seed=7,
        trained_on=TrainingPairs(name, 400),
        scored_on=ScoredPairs(name, 40, held_out=True),
        scores=Scores(score_table(methods, {name: "lower"}, name), 40, name),
        collapse=Collapse(name, collapse_table(carried, (name,))),
        pairs=(FusedPair(name, (embed_picture(pixels, name),), embed_picture(pixels, "fused")),),
        charts=training_charts(log),
        configuration=f"name: {name}",
        environment=f'{{"a": "{name}"}}',
    )


def summary(read_page, **changes: object) -> str:
    text = read_page(render_run_report(replace(make_report(), **changes))).text
    return " ".join(text[text.index("fuses") : text.index("Scores")].split())


def test_names_from_strangers_stay_text(read_page, hostile):
    page = read_page(render_run_report(make_report(hostile)))
    harmless = read_page(render_run_report(make_report("x")))
    assert page.count == harmless.count
    # title, heading, backbone, two modalities, training and test data, three rows, column, ...
    capital = hostile[:1].upper() + hostile[1:]
    assert page.text.count(hostile) + page.text.count(capital) >= 15
    assert sum(hostile in value for value in page.values) >= 2  # alt, aria-label


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {},
            "fuses x + x, trained on 400 pairs of x, scored on 40 held-out pairs of x; seed 7.",
        ),
        (
            {"scored_on": ScoredPairs("tno", 1, held_out=False)},
            "fuses x + x, trained on 400 pairs of x, scored on 1 pair of tno; seed 7.",
        ),
        (
            {"trained_on": None, "scored_on": ScoredPairs("tno", 21, held_out=False)},
            "fuses x + x, without training, scored on 21 pairs of tno; seed 7.",
        ),
        ({"scored_on": None}, "fuses x + x, trained on 400 pairs of x; seed 7."),
    ],
)
def test_the_summary_says_what_was_trained_and_scored_on(read_page, changes, expected):
    assert summary(read_page, **changes) == expected


def test_a_report_of_nothing(read_page):
    report = make_report()
    empty = replace(report, scores=None, scored_on=None, collapse=None, pairs=(), charts=())
    page = read_page(render_run_report(empty))
    assert "table" not in page.count
    assert "img" not in page.count
    assert "svg" not in page.count


def test_collapse_is_good_or_bad(read_page):
    report = make_report()
    assert report.collapse is not None
    bad = render_run_report(report)
    good = render_run_report(replace(report, collapse=replace(report.collapse, problem="")))
    assert 'class="bad"' in bad
    assert 'class="good"' not in bad
    assert 'class="good"' in good
    assert 'class="bad"' not in good
    read_page(good)


def test_the_best_mean_of_each_column_is_marked():
    methods = {
        "net": {"EN": MeanScore(7.0, 0.1), "MSE": MeanScore(0.2, 0.1)},
        "max": {"EN": MeanScore(6.0, 0.1), "MSE": MeanScore(0.1, 0.1)},
    }
    table = score_table(methods, {"EN": "higher", "MSE": "lower"}, "net")
    assert table.columns == ("method", "EN ↑", "MSE ↓")
    assert [[bool(cell.marks) for cell in row.cells] for row in table.rows] == [
        [True, False],
        [False, True],
    ]
    assert [row.highlighted for row in table.rows] == [True, False]


def test_curves_are_of_training_or_held_out_pairs():
    entries = [
        {"time": 1.0, "stage": "0-a", "step": 1, "loss": 1.0, "lr": 0.1, "note": "text"},
        {"time": 2.0, "stage": "0-a", "step": 2, "loss": 0.5, "val/loss": 0.7},
        {"time": 3.0, "stage": "1-b", "step": 1, "val/loss": 0.6},
        {"time": 4.0, "stage": "2-scores", "step": 0, "EN": 7.0},
    ]
    charts = training_charts(entries)
    assert [(chart.title, [line.name for line in chart.lines]) for chart in charts] == [
        ("0-a, training", ["loss"]),
        ("0-a, held out", ["val/loss"]),
        ("1-b, held out", ["val/loss"]),
    ]
