"""A third-party stage stands in for training or fusing: stages share artifacts, not names."""

from __future__ import annotations

import json
import sys

import pytest
import torch

import fusionkit as fk
from fusionkit.config.run_config import load_config
from fusionkit.errors import FusionkitError
from fusionkit.io.images import read_image
from fusionkit.registry.plugins import load_plugins
from fusionkit.registry.weights import load_weights
from fusionkit.runs.pipeline import run_pipeline

PLUGIN = '''
from __future__ import annotations

import torch

from fusionkit.interfaces import Backbone, RunContext, Stage
from fusionkit.io.images import from_float, write_image


class Gain(Backbone):
    """The mean of the sources times a learned gain."""

    name = "gain"

    def __init__(self):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.ones(()))

    def forward(self, sources):
        return self.gain * torch.stack(list(sources.values())).mean(dim=0)


class Search(Stage):
    """Find the gain by trying some, instead of `train-backbone`."""

    name = "search-gain"

    def produces(self, run: RunContext):
        return ["backbone"]

    def run(self, run: RunContext):
        backbone = run.components.build_backbone()
        sample = run.components.patches[0]
        gains = torch.linspace(0.5, 1.5, 11)
        spread = [float((g * backbone.fuse(sample)).clamp(0, 1).std()) for g in gains]
        with torch.no_grad():
            backbone.gain.fill_(gains[int(torch.tensor(spread).argmax())])
        if run.is_first:
            run.checkpoints.save("backbone", backbone)
            run.log.write(1, {"spread": max(spread)})


class Mirror(Stage):
    """Write mirrored fused images, instead of `fuse`."""

    name = "mirror-fuse"

    def requires(self, run: RunContext):
        return ["backbone"]

    def produces(self, run: RunContext):
        return ["fused", "grey"]

    def run(self, run: RunContext):
        backbone = run.current_backbone()
        data = run.components.data
        for index in data.splits()["val"]:
            sample = data[index]
            pixels = from_float(backbone.fuse(sample)[0].flip(-1).numpy(), "uint8")
            for folder in (run.folder / "fused", run.folder / "grey" / run.config.backbone.name):
                folder.mkdir(parents=True, exist_ok=True)
                write_image(folder / f"{sample.id}.png", pixels)
'''

RECIPE = """
name: substituted
data: {name: scenes, size: 32, train: 2, val: 2}
backbone: {name: gain}
stages:
  - {name: search-gain}
  - {name: mirror-fuse}
  - {name: evaluate, metrics: [EN, SD]}
  - {name: report}
"""


@pytest.fixture(scope="module")
def plugins(tmp_path_factory):
    path = tmp_path_factory.mktemp("plugin") / "substitute_stages.py"
    path.write_text(PLUGIN)
    before = list(sys.path)
    plugins = load_plugins(files=[path])
    assert not plugins.broken
    yield plugins
    sys.path[:] = before
    sys.modules.pop("substitute_stages", None)


def start(plugins, folder, *overrides):
    (folder / "recipe.yaml").write_text(RECIPE)
    loaded = load_config(folder / "recipe.yaml", overrides, plugins)
    run_pipeline(loaded, plugins, folder / "run")
    return folder / "run"


def test_other_stages_train_and_fuse_and_ours_go_on_from_there(plugins, tmp_path):
    run = start(plugins, tmp_path)
    trained = run / "checkpoints" / "backbone.safetensors"
    backbone = load_weights(trained, plugins.registry)
    assert backbone.gain.item() != 1.0
    means = json.loads((run / "metrics.json").read_text())
    assert means["images"] == 2
    assert (run / "report.html").is_file()
    scenes = fk.build("dataset", name="scenes", size=32, train=2, val=2)
    sample = scenes[2]
    found = read_image(run / "fused" / f"{sample.id}.png")
    expected = (backbone.fuse(sample)[0].flip(-1) * 255).round().clamp(0, 255)
    assert torch.equal(torch.from_numpy(found).float(), expected)


def test_our_fuse_takes_the_backbone_of_another_trainer(plugins, tmp_path):
    run = start(plugins, tmp_path, "stages=[{name: search-gain}, {name: fuse, baselines: []}]")
    assert len(list((run / "fused").iterdir())) == 2


def test_without_a_stage_that_produces_it_the_run_does_not_start(plugins, tmp_path):
    with pytest.raises(FusionkitError, match=r"stages.*mirror-fuse.*'backbone'"):
        start(plugins, tmp_path, "stages=[{name: mirror-fuse}]")
    assert not (tmp_path / "run" / "fused").exists()
