"""Line charts as SVG."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence

Points = Sequence[tuple[float, float]]

_COLOURS = ("#1f6feb", "#d1242f", "#1a7f37", "#9a6700", "#8250df", "#57606a", "#bf3989", "#0a7ea4")
_WIDTH, _HEIGHT = 560, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 30, 34
_MOST_POINTS = 240


def line_chart(title: str, series: Mapping[str, Points]) -> str:
    """Return a chart of one or more series over the training step.

    Long series are thinned by averaging neighbours, which also calms their noise.
    """
    thinned = {key: _thin(points) for key, points in series.items()}
    xs = [x for points in thinned.values() for x, _ in points]
    ys = [y for points in thinned.values() for _, y in points if math.isfinite(y)]
    if not ys:
        return ""
    low, high = min(0.0, min(ys)), max(ys)
    high = high if high > low else low + 1
    left, right = min(xs), max(xs)
    right = right if right > left else left + 1

    def place(x: float, y: float) -> str:
        px = _LEFT + (x - left) / (right - left) * (_WIDTH - _LEFT - _RIGHT)
        py = _HEIGHT - _BOTTOM - (y - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)
        return f"{px:.1f},{py:.1f}"

    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{html.escape(title)}">',
        f'<text x="{_LEFT}" y="18" class="title">{html.escape(title)}</text>',
    ]
    for tick in _ticks(low, high):
        x0, y = place(left, tick).split(",")
        x1 = place(right, tick).split(",")[0]
        parts.append(f'<line x1="{x0}" x2="{x1}" y1="{y}" y2="{y}" class="grid"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{float(y) + 4:.1f}" class="tick y">{tick:g}</text>')
    for tick in _ticks(left, right):
        x, y = place(tick, low).split(",")
        parts.append(f'<text x="{x}" y="{float(y) + 16:.1f}" class="tick x">{tick:g}</text>')
    for colour, (_, points) in zip(_cycle(len(thinned)), thinned.items(), strict=True):
        path = " ".join(place(x, y) for x, y in points if math.isfinite(y))
        parts.append(f'<polyline points="{path}" stroke="{colour}"/>')
        if len(points) == 1:
            x, y = place(*points[0]).split(",")
            parts.append(f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>')
    parts.append("</svg>")
    legend = "".join(
        f'<span><i style="background:{colour}"></i>{html.escape(key)}</span>'
        for colour, key in zip(_cycle(len(thinned)), thinned, strict=True)
    )
    return f'<div class="chart">{"".join(parts)}<div class="legend">{legend}</div></div>'


def _cycle(count: int) -> list[str]:
    return [_COLOURS[k % len(_COLOURS)] for k in range(count)]


def _thin(points: Points) -> list[tuple[float, float]]:
    size = max(1, math.ceil(len(points) / _MOST_POINTS))
    groups = [points[k : k + size] for k in range(0, len(points), size)]
    return [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]


def _ticks(low: float, high: float) -> list[float]:
    """Return round numbers between two values, about five."""
    rough = (high - low) / 5
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough)
    first = math.ceil(low / step)
    return [round(k * step, 10) for k in range(first, math.floor(high / step + 1e-9) + 1)]
