"""The report of a benchmark: what it makes of results, and class names that a stranger chose."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from fusionkit.benchmark.report import write_report
from fusionkit.benchmark.results import Cell, DataSummary, Ranks, Row, SuiteResults
from fusionkit.benchmark.scenes import Scenes
from fusionkit.benchmark.suite import load_suite
from fusionkit.interfaces import Dataset, Sample, TaskResult
from fusionkit.io.images import write_image
from fusionkit.registry.plugins import load_installed_plugins

SUITE = """\
name: small
data:
  street: {name: scenes, size: 32, train: 1, val: 2}
methods:
  average: {backbone: {name: average}}
  max: {backbone: {name: max}}
tasks:
  segmentation: {name: fusion-metrics}
"""

HOSTILE = "</p><script>alert(1)</script>\"'"


class Street(Dataset):
    """Three scenes with masks; the scenes and their class have names from a stranger."""

    name = "street"
    mask_classes = (HOSTILE, "car")

    def __len__(self):
        return 3

    def __getitem__(self, index):
        image = torch.full((1, 8, 12), 0.5)
        mask = torch.zeros(8, 12, dtype=torch.int64)
        return Sample(f"{HOSTILE} {index}", {"infrared": image, "visible": image}, mask=mask)

    def splits(self):
        return {"train": [], "val": [0, 1, 2]}


def row(method, score, mean, place, p=None):
    return Row(
        "street", "segmentation", score, "higher", method, mean,
        std=0.1, low=0.0, high=1.0, n=3, over="images", place=place, p=p,
    )  # fmt: skip


@pytest.fixture
def page(tmp_path):
    (tmp_path / "suite.yaml").write_text(SUITE)
    suite = load_suite(tmp_path / "suite.yaml", [], load_installed_plugins())
    dataset = Street()
    ids = [dataset.id(index) for index in range(len(dataset))]
    write_image(tmp_path / "fused.png", np.full((8, 12), 100, np.uint8))
    paths = dict.fromkeys(ids, tmp_path / "fused.png")
    # The first scene has no predictions, so it is not shown.
    prediction = {name: torch.ones(8, 12, dtype=torch.int64) for name in ids[1:]}
    cells = [
        Cell("segmentation", "street", method, 0, None, 3, (), TaskResult({}, {}, prediction))
        for method in ("average", "max")
    ]
    results = SuiteResults(
        reference="average",
        table=(
            row("average", "IoU", 0.5, 2),
            row("max", "IoU", 0.75, 1, p=0.01),
            row("max", f"IoU/{HOSTILE}", 0.25, 1, p=0.5),
        ),
        ranks=(Ranks("street", "segmentation", "IoU", {"max": 1.0, "average": 2.0}, 0.5, 0.01, 9),),
        suite={},
        versions={"torch": "2"},
        environment={"python": HOSTILE},
        data={"street": DataSummary(0, 3, {})},
        cells=tuple(cells),
    )
    scenes = {"street": Scenes("street", dataset, (), (0, 1, 2))}
    fused = {("street", method): paths for method in ("average", "max")}
    write_report(tmp_path, suite.config, results, scenes, fused)
    return (tmp_path / "report.html").read_text()


def test_cells_show_place_significance_and_spread(page):
    cells = re.findall(r"<td(.*?)>([\d.]+|–) ?(?:<small>± ([\d.]+)</small>)?</td>", page)
    assert cells == [
        (' class="second"', "0.500", "0.100"),
        (' class="best differs" title="p = 0.01"', "0.750", "0.100"),
        (' class="best" title="p = 0.5"', "0.250", "0.100"),
    ]
    assert "Critical difference 0.50" in page


def test_scenes_with_predictions_are_shown_in_rows_with_their_labels(page):
    rows = re.findall(r'<div class="scenes">(.*?)</div></div>', page)
    assert [re.findall(r'alt="([^"]+)"', found) for found in rows] == 2 * [
        ["labels", "average", "max"]
    ]


def test_names_from_strangers_stay_text(page):
    assert page.count("<script>") == 1
    assert HOSTILE not in page
    assert page.count("&lt;script&gt;alert(1)") == 3  # the column, the legend, the environment
