"""Finished stages are taken over from other run folders with all their files."""

from __future__ import annotations

import pytest
from safetensors.torch import load_file

from fusionkit.config.run_config import load_config
from fusionkit.registry.plugins import load_plugins
from fusionkit.runs.pipeline import run_pipeline
from fusionkit.runs.run import Run
from fusionkit.runs.stage_reuse import adopt_finished_stages

TINY = """\
name: tiny
data: {name: scenes, size: 32, train: 2, val: 1}
teacher: [{name: average}]
sensors: {infrared: {name: unet, width: 2}, visible: {name: unet, width: 2}}
backbone: {name: ufuser, channels: [8, 8]}
losses: [{name: sensing}]
stages:
  - {name: train-sensors, epochs: 1, batch_size: 2, crop: 32}
  - {name: train-backbone, epochs: 1, batch_size: 2, crop: 32}
  - {name: fuse}
"""


@pytest.fixture(scope="module")
def plugins():
    return load_plugins()


@pytest.fixture(scope="module")
def load(tmp_path_factory, plugins):
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    path.write_text(TINY)
    return lambda *overrides: load_config(path, overrides, plugins)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, load, plugins):
    return run_pipeline(load(), plugins, tmp_path_factory.mktemp("runs") / "finished")


def files(folder):
    """Return path -> content; the header of a safetensors file is not the same each time."""
    found = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.png")}
    for path in folder.rglob("*.safetensors"):
        tensors = load_file(path)
        found[path.relative_to(folder)] = {k: v.numpy().tobytes() for k, v in tensors.items()}
    return found


def test_all_stages_of_the_same_configuration_are_taken_over(finished, load, plugins, tmp_path):
    run = Run(tmp_path / "run", load(), plugins)
    assert adopt_finished_stages(run, [tmp_path, finished.folder]) == (
        finished.folder,
        ["0-train-sensors", "1-train-backbone", "2-fuse"],
    )
    assert run.ledger.finished() == finished.ledger.finished()
    assert [run.ledger.problem(key) for key in run.stages] == [None, None, None]
    assert len(list((run.folder / "fused").rglob("*.png"))) > 0
    found, expected = files(run.folder), files(finished.folder)
    # the images that train-backbone draws on the way are no artifacts
    assert {p for p in expected if p.parts[0] != "samples"} == set(found)
    assert {path for path in found if found[path] != expected[path]} == set()


def test_stages_before_a_changed_one_are_taken_over(finished, load, plugins, tmp_path):
    loaded = load("losses.0.noise=0.1")
    run = Run(tmp_path / "run", loaded, plugins)
    assert adopt_finished_stages(run, [finished.folder]) == (finished.folder, ["0-train-sensors"])
    assert adopt_finished_stages(run, [finished.folder]) is None  # the run has been started
    run_pipeline(loaded, plugins, run.folder)
    found, expected = run.ledger.finished(), finished.ledger.finished()
    assert list(found) == list(run.stages)
    assert [key for key in found if found[key] == expected[key]] == ["0-train-sensors"]
    sensor = "checkpoints/0-train-sensors.sensor-infrared.safetensors"
    assert (run.folder / sensor).read_bytes() == (finished.folder / sensor).read_bytes()


def test_a_stage_that_has_lost_a_file_is_not_taken_over(finished, load, plugins, tmp_path):
    whole = Run(tmp_path / "whole", load(), plugins)
    adopt_finished_stages(whole, [finished.folder])
    (whole.folder / "checkpoints" / "1-train-backbone.backbone.safetensors").unlink()
    run = Run(tmp_path / "run", load(), plugins)
    assert adopt_finished_stages(run, [whole.folder]) == (whole.folder, ["0-train-sensors"])
    assert adopt_finished_stages(Run(tmp_path / "other", load(), plugins), []) is None
