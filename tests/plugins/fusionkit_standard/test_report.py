"""The stage ``report``: what it takes from a run, and that the page says so."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from fusionkit.config.run_config import load_config
from fusionkit.io.images import write_image
from fusionkit.registry.plugins import load_plugins
from fusionkit.runs.pipeline import run_pipeline

RECIPE = """\
name: shown
data: {name: scenes, size: 48, train: 2, val: 3}
backbone: {name: laplacian-pyramid}
stages:
  - {name: fuse, baselines: [{name: average}]}
  - {name: evaluate, metrics: [EN, SCD, MSE]}
  - {name: report, pairs: 2}
"""

TRAINING = """\
from fusionkit.interfaces import Stage


class Trained(Stage):
    name = "trained"

    def produces(self, run):
        return ("backbone",)

    def run(self, run):
        run.checkpoints.save("backbone", run.components.build_backbone())
        run.log.write(1, {"loss": 0.5, "val/loss": 0.25})
"""

TRAINED = """\
name: trained
data: {name: scenes, size: 48, train: 5, val: 2}
backbone: {name: ufuser, channels: [4, 8], heads: 4}
stages:
  - {name: trained}
  - {name: fuse, baselines: [], limit: 1}
  - {name: evaluate, metrics: [EN]}
  - {name: report, pairs: 1}
"""


def make_page(folder, recipe, plugins):
    path = folder / "recipe.yaml"
    path.write_text(recipe)
    run_pipeline(load_config(path, [], plugins), plugins, folder / "run")
    return (folder / "run" / "report.html").read_text()


def summary(page):
    paragraph = re.search(r"<p>(.*?)</p>", page, re.DOTALL)
    assert paragraph is not None
    return " ".join(re.sub(r"<[^>]+>", "", paragraph[1]).split())


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return make_page(tmp_path_factory.mktemp("report"), RECIPE, load_plugins())


@pytest.fixture(scope="module")
def plugins(tmp_path_factory):
    path = tmp_path_factory.mktemp("plugin") / "trained.py"
    path.write_text(TRAINING)
    return load_plugins(files=[path])


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
    assert page.count("<img") == 2 * 3
    assert page.count("<option>") == 2 * 2
    assert 'class="good"' in page
    assert "<polyline" not in page


def test_without_training_no_pair_is_called_trained_on_or_held_out(page):
    assert summary(page) == (
        "laplacian-pyramid fuses infrared + visible, without training, "
        "scored on 3 pairs of scenes; seed 0."
    )


def test_only_the_training_split_counts_as_trained_on(tmp_path, plugins):
    page = make_page(tmp_path, TRAINED, plugins)
    assert "trained on 5 pairs of scenes, scored on 1 held-out pair of scenes;" in summary(page)
    assert page.count("<polyline") == 2


def test_a_test_set_is_not_held_out(tmp_path, plugins):
    other = "test: {name: scenes, size: 48, train: 3, val: 1}\nstages:"
    page = make_page(tmp_path, TRAINED.replace("stages:", other).replace(", limit: 1", ""), plugins)
    assert "trained on 5 pairs of scenes, scored on 4 pairs of scenes;" in summary(page)


def test_the_parts_of_a_union_count_together(tmp_path, plugins):
    scenes = "{name: scenes, size: 48, train: %d, val: 1, seed: %d}"
    parts = f"{{day: {scenes % (2, 0)}, night: {scenes % (4, 1)}}}"
    recipe = re.sub(r"data: .*", f"data: {{name: union, parts: {parts}}}", TRAINED)
    page = make_page(tmp_path, recipe.replace(", limit: 1", ""), plugins)
    assert summary(page).startswith(
        "ufuser fuses infrared + visible, trained on 6 pairs of union (day, night), "
        "scored on 2 held-out pairs of union (day, night);"
    )


def test_the_colour_source_is_shown_in_colour_whatever_it_is_called(tmp_path):
    for name, size in (("pet", (48, 48, 3)), ("mri", (48, 48))):
        image = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
        for place in range(4):
            (tmp_path / name).mkdir(exist_ok=True)
            write_image(tmp_path / name / f"{place}.png", image)
    recipe = RECIPE.replace(
        "data: {name: scenes, size: 48, train: 2, val: 3}",
        f"modalities: [mri, pet]\ndata: {{name: paired-folders, root: {tmp_path}}}",
    )
    page = make_page(tmp_path, recipe, load_plugins())
    urls = re.findall(r'<img src="data:image/png;base64,([^"]+)"', page)
    shown = [Image.open(io.BytesIO(base64.b64decode(url))).mode for url in urls]
    assert shown == ["L", "RGB", "RGB"]
