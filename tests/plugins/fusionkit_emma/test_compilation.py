"""Training with torch.compile: the same losses, the time it took, and machines without it.

The networks are captured, but run by PyTorch's own operations: a C++ compiler takes minutes.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
from torch import nn

from fusionkit.config.run_config import load_config
from fusionkit.errors import FusionkitError
from fusionkit.io.hashes import file_hash
from fusionkit.registry.plugins import load_plugins
from fusionkit.runs.pipeline import run_pipeline

RECIPE = """\
name: tiny
accelerator: cpu
data: {name: scenes, size: 48, train: 4, val: 1}
teacher: [{name: average}]
sensors:
  infrared: {name: unet, width: 2}
  visible: {name: unet, width: 2}
backbone: {name: ufuser, channels: [4, 8], heads: 4}
transforms: [{name: reflect, count: 1}]
losses:
  - {name: sensing}
  - {name: equivariance, weight: 0.1}
stages:
  - {name: train-sensors, epochs: 1, batch_size: 2, crop: 32}
  - {name: train-backbone, epochs: 1, batch_size: 2, crop: 32}
"""


@pytest.fixture(scope="module")
def plugins():
    return load_plugins()


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    recipe = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    recipe.write_text(RECIPE)
    return recipe


@pytest.fixture(scope="module")
def plain(recipe, plugins, tmp_path_factory) -> Path:
    return run_pipeline(
        load_config(recipe, [], plugins), plugins, tmp_path_factory.mktemp("run")
    ).folder


@pytest.fixture
def compiled(recipe, plugins, tmp_path, monkeypatch):
    """Return a function that trains with ``compile: true`` and another backend."""
    compile_module = nn.Module.compile

    def train(backend) -> Path:
        monkeypatch.setattr(
            nn.Module,
            "compile",
            lambda self, **options: compile_module(self, backend=backend, **options),
        )
        loaded = load_config(recipe, ["compile=true"], plugins)
        return run_pipeline(loaded, plugins, tmp_path / "run").folder

    torch._dynamo.reset()
    yield train
    torch._dynamo.reset()


def lines(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


# Dynamo looks at the gradient of what it captures.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
def test_compiled_networks_have_the_losses_of_the_others_and_the_time_is_logged(compiled, plain):
    captured = []

    def backend(graph, inputs):
        captured.append(inputs)
        return graph

    folder = compiled(backend)
    # The probe, the sensors together, the frozen ones, and the backbone for two sizes of batch.
    assert len(captured) >= 1 + 1 + 1 + 2
    tensors = [x for inputs in captured for x in inputs if isinstance(x, torch.Tensor)]
    sides = {x.shape[-1] for x in tensors if x.dim()}
    assert 32 in sides
    assert 48 not in sides  # the validation
    expected, found = lines(plain), lines(folder)
    times = [line for line in found if "compile_seconds" in line]
    assert [line["stage"] for line in times] == ["0-train-sensors", "1-train-backbone"]
    assert all(line["compile_seconds"] > 0 for line in times)
    for one, other in zip(expected, [line for line in found if line not in times], strict=True):
        assert one.keys() == other.keys()
        for name in one.keys() - {"time", "stage"}:
            assert other[name] == pytest.approx(one[name], rel=1e-5), name


def test_without_a_compiler_the_training_goes_on_as_it_is(compiled, plain, caplog):
    def backend(graph, inputs):
        raise RuntimeError("no C++ compiler")

    with caplog.at_level(logging.WARNING, "fusionkit"):
        folder = compiled(backend)
    assert "no C++ compiler" in caplog.text
    names = sorted(path.name for path in (plain / "checkpoints").glob("*.safetensors"))
    assert len(names) == 6
    for name in names:
        assert file_hash(folder / "checkpoints" / name) == file_hash(plain / "checkpoints" / name)


def test_compiled_networks_choose_themselves_what_to_compute_again(recipe, plugins):
    with pytest.raises(FusionkitError, match="activation_checkpointing"):
        load_config(recipe, ["compile=true", "activation_checkpointing=true"], plugins)
