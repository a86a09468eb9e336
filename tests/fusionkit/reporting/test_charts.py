"""Charts: points, bars and labels are where they belong."""

from __future__ import annotations

import math

from fusionkit.reporting.charts import line_chart, rank_chart


def test_a_chart_places_its_points():
    chart = line_chart("t", {"loss": [(0, 0.0), (10, 1.0), (20, 0.5)], "one": [(5, 0.5)]})
    assert chart is not None
    first, middle, last = chart.lines[0].points
    assert first.x < middle.x < last.x
    assert middle.y < last.y < first.y
    assert len(chart.lines[1].points) == 1
    assert chart.lines[0].colour != chart.lines[1].colour
    ticks = {float(tick.label): tick.at for tick in chart.y_ticks}
    assert ticks[0] == first.y
    assert ticks[1] == middle.y


def test_charts_survive_odd_series():
    assert line_chart("t", {"a": [(1, math.nan)]}) is None
    assert line_chart("t", {}) is None
    flat = line_chart("t", {"a": [(1, 0.0), (2, 0.0)], "b": [(1, math.inf)]})
    assert flat is not None
    assert [len(line.points) for line in flat.lines] == [2, 0]
    many = line_chart("t", {"a": [(float(k), float(k)) for k in range(5000)]})
    assert many is not None
    assert len(many.lines[0].points) <= 240


def test_ranks_stand_in_order_and_bars_join_what_is_alike():
    ranks = {"worst": 3.9, "best": 1.1, "second": 1.5, "third": 3.5}
    chart = rank_chart("EN", ranks, difference=1.0, p=0.01, images=9)
    assert [label.method for label in chart.labels] == ["best", "second", "third", "worst"]
    places = [label.at for label in chart.labels]
    assert places == sorted(places)
    assert [label.anchor for label in chart.labels] == ["start", "start", "end", "end"]
    assert [tick.label for tick in chart.ticks] == ["1", "2", "3", "4"]
    joined = [(bar.start + 3, bar.end - 3) for bar in chart.bars]
    assert joined == [(places[0], places[1]), (places[2], places[3])]
    assert chart.bars[0].y < chart.bars[1].y < chart.labels[0].y
    assert max(label.y for label in chart.labels) < chart.height


def test_no_bar_where_every_difference_is_significant():
    chart = rank_chart("EN", {"a": 1.0, "b": 2.0, "c": 3.0}, difference=0.5, p=0.01, images=99)
    assert chart.bars == ()
