"""Training on a GPU: losses of the CPU, no waiting, 16 bits, compiled code, resuming, faults."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from fusionkit.config.run_config import load_config
from fusionkit.errors import FusionkitError
from fusionkit.registry.plugins import load_plugins
from fusionkit.runs.pipeline import run_pipeline
from fusionkit_emma import epochs, losses
from fusionkit_emma.divergence import FiniteGuard
from fusionkit_emma.train_backbone import TrainBackbone

GPU = "cuda"
pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("default")]

RECIPE = """\
name: tiny
data: {name: scenes, size: 48, train: 6, val: 1}
teacher: [{name: average}, {name: max}]
sensors:
  infrared: {name: unet, width: 4}
  visible: {name: unet, width: 4}
backbone: {name: ufuser, channels: [4, 8], heads: 4, init: average}
transforms: [{name: shift, count: 1}, {name: rotate, count: 1}, {name: reflect, count: 1}]
losses:
  - {name: sensing, noise: 0.02}
  - {name: sensing, weight: 0.1, distance: {name: ssim}}
  - {name: equivariance, weight: 0.1, elements: 3, identity: true, masked: true, noise: 0.02}
stages:
  # Plain descent: Adam makes steps of full length out of rounding errors.
  - {name: train-sensors, epochs: 1, batch_size: 2, crop: 32, noise: 0.1, augment: true,
     blend: true, optimizer: {name: sgd, lr: 0.05}}
  - {name: train-backbone, distill: {epochs: 1, weight: 1.0}, epochs: 2, batch_size: 2, crop: 32,
     clip: 1.0, augment: true, average: {decay: 0.9}, optimizer: {name: sgd, lr: 0.01}}
"""
STEPS = 3 + 3 * 3


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """Return a function that trains with overrides; it returns the run folder."""
    plugins = load_plugins()
    recipe = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    recipe.write_text(RECIPE)

    def train(*overrides: str, folder: Path | None = None) -> Path:
        loaded = load_config(recipe, overrides, plugins)
        place = folder or tmp_path_factory.mktemp("run") / "run"
        return run_pipeline(loaded, plugins, place).folder

    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False  # convolutions of 10 bits would be far from the CPU's
    yield train
    torch.backends.cudnn.allow_tf32 = before


@pytest.fixture(scope="module")
def on_cpu(train) -> Path:
    return train("accelerator=cpu")


@pytest.fixture(scope="module")
def on_gpu(train) -> Path:
    return train(f"accelerator={GPU}")


def lines(folder: Path) -> list[dict[str, Any]]:
    entries = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [entry for entry in entries if "compile_seconds" not in entry]


def assert_same_losses(one: Path, other: Path, rel: float) -> None:
    expected, found = lines(one), lines(other)
    assert len([line for line in found if "lr" in line]) == STEPS
    for line, same in zip(expected, found, strict=True):
        assert line.keys() == same.keys()
        for name in line.keys() - {"time", "stage"}:
            if not name.startswith("val/share"):
                assert same[name] == pytest.approx(line[name], rel=rel, abs=1e-5), (name, line)


def test_a_gpu_has_the_losses_and_weights_of_the_cpu(on_cpu, on_gpu):
    assert_same_losses(on_cpu, on_gpu, rel=1e-3)
    for path in sorted((on_cpu / "checkpoints").glob("*.safetensors")):
        one, other = load_file(path), load_file(on_gpu / "checkpoints" / path.name)
        for name, weight in one.items():
            torch.testing.assert_close(other[name], weight, rtol=1e-2, atol=1e-3, msg=name)


def test_the_loop_waits_for_the_gpu_only_to_read_many_steps_at_once(train, on_gpu, monkeypatch):
    iterate, read = epochs.Epoch.__iter__, epochs.Epoch._read
    reads = []

    def strict_loop(self) -> Iterator[Any]:
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield from iterate(self)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    def allowed_read(self) -> None:
        torch.cuda.set_sync_debug_mode("default")
        reads.append(len(self._unread))
        read(self)
        torch.cuda.set_sync_debug_mode("error")

    monkeypatch.setattr(epochs.Epoch, "__iter__", strict_loop)
    monkeypatch.setattr(epochs.Epoch, "_read", allowed_read)
    monkeypatch.setattr(epochs, "READ_EVERY", 2)
    assert_same_losses(on_gpu, train(f"accelerator={GPU}"), rel=1e-3)
    assert reads == [2, 1] * 4


def test_16_bits_have_nearly_the_losses_of_32(train, on_gpu):
    folder = train(f"accelerator={GPU}", "precision=bf16-mixed")
    assert_same_losses(on_gpu, folder, rel=2**-4)
    weights = load_file(folder / "checkpoints" / "backbone.safetensors")
    assert all(tensor.dtype == torch.float32 for tensor in weights.values())


def test_float16_skips_steps_that_overflow_and_goes_on(train):
    folder = train(f"accelerator={GPU}", "precision=16-mixed")
    weights = load_file(folder / "checkpoints" / "backbone.safetensors")
    assert all(tensor.isfinite().all() for tensor in weights.values())


def test_compiled_networks_have_the_losses_of_the_others(train, on_gpu):
    folder = train(f"accelerator={GPU}", "compile=true")
    assert_same_losses(on_gpu, folder, rel=1e-3)
    assert "compile_seconds" in (folder / "log.jsonl").read_text()


@pytest.mark.parametrize(
    "override", ["activation_checkpointing=true", "stages.train-backbone.accumulate=2"]
)
def test_what_saves_memory_changes_no_loss(train, on_gpu, override):
    assert_same_losses(on_gpu, train(f"accelerator={GPU}", override), rel=1e-3)


def test_an_interrupted_training_goes_on(train, on_gpu, tmp_path, monkeypatch):
    validate, calls = TrainBackbone._validate, []

    def interrupted(self, *arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return validate(self, *arguments)

    monkeypatch.setattr(TrainBackbone, "_validate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(f"accelerator={GPU}", folder=tmp_path / "run")
    monkeypatch.undo()
    train(f"accelerator={GPU}", folder=tmp_path / "run")
    one, other = (
        load_file(folder / "checkpoints" / "backbone.safetensors")
        for folder in (on_gpu, tmp_path / "run")
    )
    for name, weight in one.items():
        torch.testing.assert_close(other[name], weight, rtol=1e-2, atol=1e-3, msg=name)


def test_a_fault_is_named_with_its_step_and_samples(train, tmp_path, monkeypatch):
    forward, calls = losses.Sensing.forward, []

    def spoilt(self, step):
        calls.append(1)
        # Two terms look in each step and validation: after the distillation there is a validation,
        # then an epoch of three steps and another one.
        return forward(self, step) * (float("nan") if len(calls) == 2 * (1 + 3 + 1) + 1 else 1)

    monkeypatch.setattr(losses.Sensing, "forward", spoilt)
    with pytest.raises(FusionkitError) as error:
        train(f"accelerator={GPU}", folder=tmp_path / "run")
    message = str(error.value)
    assert "1-train-backbone" in message
    assert "step 7," in message
    assert "loss/sensing" in message
    assert len(re.findall(r"[a-z]+-\d{5}", message)) == 2
    state = torch.load(
        tmp_path / "run" / "checkpoints" / "1-train-backbone.progress.pt", weights_only=True
    )
    assert state["epochs"] == 2
    assert all(tensor.isfinite().all() for tensor in state["backbone"].values())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("part", ["weight", "gradient"])
def test_one_bad_number_among_huge_ones_is_found_and_no_other(part, value):
    layer = nn.Linear(64, 64).to(GPU)
    layer.weight.grad = torch.full((64, 64), -1e30, device=GPU)
    nn.init.constant_(layer.weight, 1e30)
    guard = FiniteGuard({"layer": layer})

    def problem() -> str | None:
        numbers = {what: number.item() for what, number in guard.measure().items()}
        return guard.find_problem({"loss": 0.5}, numbers)

    assert problem() is None
    spoilt = layer.weight.detach() if part == "weight" else layer.weight.grad
    spoilt[5, 7] = value
    assert f"the {part} " in (problem() or "")
