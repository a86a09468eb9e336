"""The report as a page: everything inside, and a chart's numbers where they belong."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from fusionkit.config.run_config import load_config
from fusionkit.registry.plugins import load_plugins
from fusionkit.reporting.pages import data_url
from fusionkit.runs.pipeline import run_pipeline
from fusionkit_standard.report.charts import line_chart

RECIPE = """\
name: <shown>
data: {name: scenes, size: 48, train: 2, val: 3}
backbone: {name: laplacian-pyramid}
stages:
  - {name: fuse, baselines: [{name: average}]}
  - {name: evaluate, metrics: [EN, SCD, MSE]}
  - {name: report, pairs: 2}
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    (folder / "r.yaml").write_text(RECIPE.replace("<shown>", "shown"))
    plugins = load_plugins()
    run_pipeline(load_config(folder / "r.yaml", [], plugins), plugins, folder / "run")
    return (folder / "run" / "report.html").read_text()


class _Balanced(HTMLParser):
    """Complains about tags that are not closed in order."""

    void = frozenset({"meta", "img", "input", "line", "polyline", "circle", "link", "br"})

    def __init__(self):
        super().__init__()
        self.open: list[str] = []
        self.images: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag == "img":
            self.images.append(dict(attrs)["src"] or "")
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.void:
            assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing_beside_it(page):
    parser = _Balanced()
    parser.feed(page)
    assert not parser.open
    assert "{{" not in page
    assert parser.images
    assert all(url.startswith("data:image/png;base64,") for url in parser.images)
    assert not re.search(r'(src|href)="(?!data:)', page)


def test_the_table_marks_the_best_and_knows_which_way_is_better(page):
    head = re.search(r"<thead>(.*?)</thead>", page)
    assert head is not None
    assert "MSE ↓" in head[1]
    assert "EN ↑" in head[1]
    rows = re.findall(r"<tr[^>]*><th>([\w-]+)</th>(.*?)</tr>", page)
    methods = dict(rows[1:3])
    assert set(methods) == {"laplacian-pyramid", "average"}
    # averaging is the least-squares answer, so its MSE is the best
    assert 'class="best"' in methods["average"].split("</td>")[2]
    assert 'class="best"' not in methods["laplacian-pyramid"].split("</td>")[2]


def test_pairs_have_sources_fused_image_and_slider(page):
    assert page.count('class="pair"') == 2
    assert page.count('type="range"') == 2
    assert "No collapse" in page
    assert "Nothing was trained" in page


def test_data_urls_hold_the_picture():
    pixels = np.arange(48, dtype=np.uint16).reshape(6, 8) * 1000
    url = data_url(pixels)
    image = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
    assert np.array_equal(np.asarray(image), pixels >> 8)


def test_a_chart_places_its_points():
    svg = line_chart("t", {"loss": [(0, 0.0), (10, 1.0), (20, 0.5)], "<b>": [(5, 0.5)]})
    points = re.search(r'points="([^"]+)"', svg)
    assert points is not None
    first, middle, last = (tuple(map(float, p.split(","))) for p in points[1].split())
    assert first[0] < middle[0] < last[0]
    assert middle[1] < last[1] < first[1]
    assert "&lt;b&gt;" in svg
    assert svg.count("<circle") == 1


def test_charts_survive_odd_series():
    assert line_chart("t", {"a": [(1, float("nan"))]}) == ""
    assert "<polyline" in line_chart("t", {"a": [(1, 0.0), (2, 0.0)]})
    many = line_chart("t", {"a": [(float(k), float(k)) for k in range(5000)]})
    points = re.search(r'points="([^"]+)"', many)
    assert points is not None
    assert len(points[1].split()) <= 240
