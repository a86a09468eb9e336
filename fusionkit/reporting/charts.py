"""Charts of a page: where ticks, lines and labels are. The templates draw them as SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["LineChart", "RankChart", "line_chart", "rank_chart"]

Points = Sequence[tuple[float, float]]

_COLOURS = ("#1f6feb", "#d1242f", "#1a7f37", "#9a6700", "#8250df", "#57606a", "#bf3989", "#0a7ea4")
_MOST_POINTS = 240


@dataclass(frozen=True)
class Tick:
    """A mark on an axis.

    Attributes:
        label: Its value.
        at: Its place in pixels.
    """

    label: str
    at: float


@dataclass(frozen=True)
class Point:
    """A place in a chart, in pixels from the top left corner."""

    x: float
    y: float


@dataclass(frozen=True)
class Line:
    """One series of a line chart.

    Attributes:
        name: Its name in the legend.
        colour: Its colour, ``#rrggbb``.
        points: Its points from left to right.
    """

    name: str
    colour: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class LineChart:
    """A chart of one or more series over the training step; all lengths in pixels.

    Attributes:
        title: Heading of the chart.
        x_ticks: Marks below the chart.
        y_ticks: Marks left of the chart.
        lines: The series.
        width: Width of the picture.
        height: Height of the picture.
        left: Left edge of the plotted area.
        right: Right edge of the plotted area.
        top: Top edge of the plotted area.
        bottom: Bottom edge of the plotted area.
    """

    title: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[Line, ...]
    width: int = 560
    height: int = 260
    left: int = 56
    right: int = 548
    top: int = 30
    bottom: int = 226


def line_chart(title: str, series: Mapping[str, Points]) -> LineChart | None:
    """Return a chart of one or more series over the training step.

    Long series are thinned: neighbours are averaged, which also smooths noise.

    Args:
        title: Heading of the chart.
        series: Name -> points (step, value); values that are not finite are left out.

    Returns:
        The chart; None if no value is finite.

    Example:
        >>> chart = line_chart("training", {"loss": [(0, 1.0), (10, 0.5)]})
        >>> [tick.label for tick in chart.x_ticks]
        ['0', '2', '4', '6', '8', '10']
        >>> chart.lines[0].points
        (Point(x=56.0, y=30.0), Point(x=548.0, y=128.0))
    """
    finite = {
        name: [(x, y) for x, y in _thin(points) if math.isfinite(y)]
        for name, points in series.items()
    }
    places = [point for points in finite.values() for point in points]
    if not places:
        return None
    low, high = min(0.0, *(y for _, y in places)), max(y for _, y in places)
    high = high if high > low else low + 1
    first, last = min(x for x, _ in places), max(x for x, _ in places)
    last = last if last > first else first + 1
    left, right, top, bottom = LineChart.left, LineChart.right, LineChart.top, LineChart.bottom

    def across(x: float) -> float:
        return round(left + (x - first) / (last - first) * (right - left), 1)

    def down(y: float) -> float:
        return round(bottom - (y - low) / (high - low) * (bottom - top), 1)

    return LineChart(
        title,
        tuple(Tick(f"{x:g}", across(x)) for x in _round_numbers(first, last)),
        tuple(Tick(f"{y:g}", down(y)) for y in _round_numbers(low, high)),
        tuple(
            Line(
                name,
                _COLOURS[number % len(_COLOURS)],
                tuple(Point(across(x), down(y)) for x, y in points),
            )
            for number, (name, points) in enumerate(finite.items())
        ),
    )


@dataclass(frozen=True)
class RankBar:
    """Joins methods whose mean ranks do not differ significantly."""

    start: float
    end: float
    y: float


@dataclass(frozen=True)
class RankLabel:
    """A method in a chart of ranks.

    Attributes:
        method: Its name.
        rank: Its mean rank.
        at: Place of the rank on the axis.
        edge: Where its name stands: at the left or the right edge.
        y: Height of the line from the axis to the name.
        anchor: CSS class of the name: ``start`` or ``end``.
    """

    method: str
    rank: float
    at: float
    edge: float
    y: float
    anchor: str


@dataclass(frozen=True)
class RankChart:
    """Mean ranks on a line, after Demsar (JMLR 2006), figure 1; all lengths in pixels.

    Attributes:
        score: Name of the score.
        images: Number of images that the ranks are means over.
        difference: Critical difference of two mean ranks.
        p: p value of Friedman's test.
        ticks: Marks on the axis.
        bars: Groups of methods that are not significantly different.
        labels: The methods, best first.
        height: Height of the picture.
        width: Width of the picture.
    """

    score: str
    images: int
    difference: float
    p: float
    ticks: tuple[Tick, ...]
    bars: tuple[RankBar, ...]
    labels: tuple[RankLabel, ...]
    height: float
    width: int = 760


def rank_chart(
    score: str, ranks: Mapping[str, float], *, difference: float, p: float, images: int
) -> RankChart:
    """Return a chart of mean ranks.

    Args:
        score: Name of the score.
        ranks: Method -> mean rank; 1 is the best. One method or more.
        difference: Critical difference of two mean ranks.
        p: p value of Friedman's test.
        images: Number of images.

    Example:
        >>> ranks = {"average": 1.2, "max": 1.8, "infrared": 3.0}
        >>> chart = rank_chart("EN", ranks, difference=1.0, p=0.01, images=12)
        >>> [label.method for label in chart.labels], len(chart.bars)
        (['average', 'max', 'infrared'], 1)
    """
    ordered = sorted(ranks.items(), key=lambda item: item[1])
    count, half = len(ordered), (len(ordered) + 1) // 2
    width, margin = RankChart.width, 170

    def across(rank: float) -> float:
        return round(margin + (rank - 1) / max(1, count - 1) * (width - 2 * margin), 1)

    bars: list[RankBar] = []
    y, reached = 50, 0.0
    for index, (_, low) in enumerate(ordered):
        high = max(rank for _, rank in ordered[index:] if rank - low <= difference)
        if high > low and high > reached:
            bars.append(RankBar(across(low) - 3, across(high) + 3, y))
            reached, y = high, y + 7
    y += 12
    labels = tuple(
        RankLabel(method, rank, across(rank), 2, y + 16 * index, "start")
        if index < half
        else RankLabel(method, rank, across(rank), width - 2, y + 16 * (count - 1 - index), "end")
        for index, (method, rank) in enumerate(ordered)
    )
    ticks = tuple(Tick(str(rank), across(rank)) for rank in range(1, count + 1))
    height = y + 16 * half + 4
    return RankChart(score, images, difference, p, ticks, tuple(bars), labels, height)


def _thin(points: Points) -> list[tuple[float, float]]:
    size = max(1, math.ceil(len(points) / _MOST_POINTS))
    groups = [points[k : k + size] for k in range(0, len(points), size)]
    return [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]


def _round_numbers(low: float, high: float) -> list[float]:
    """Return about five round numbers between two values."""
    rough = (high - low) / 5
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough)
    first = math.ceil(low / step)
    return [round(k * step, 10) for k in range(first, math.floor(high / step + 1e-9) + 1)]
