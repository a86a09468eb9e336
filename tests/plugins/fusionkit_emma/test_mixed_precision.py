"""Training in 16 bits: the networks work in them, the losses do not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from fusionkit.config.run_config import load_config
from fusionkit.registry.plugins import load_plugins
from fusionkit.runs.pipeline import run_pipeline
from fusionkit_emma import distances, transforms
from fusionkit_emma.unet import UNet

RECIPE = """\
name: tiny
accelerator: cpu
data: {name: scenes, size: 48, train: 4, val: 0}
teacher: [{name: average}]
sensors:
  infrared: {name: unet, width: 4}
  visible: {name: unet, width: 4}
backbone: {name: ufuser, channels: [4, 8], heads: 4, init: average}
transforms: [{name: rotate, count: 1}]
losses:
  - {name: sensing}
  - {name: sensing, distance: {name: ssim}}
  - {name: equivariance}
stages:
  - {name: train-sensors, epochs: 1, batch_size: 2, crop: 32}
  - {name: train-backbone, epochs: 1, batch_size: 2, crop: 32}
"""


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """Return a function that trains in a precision and returns the lines of the log."""
    plugins = load_plugins()
    folder = tmp_path_factory.mktemp("precision")
    (folder / "tiny.yaml").write_text(RECIPE)

    def train(precision: str) -> list[dict[str, float]]:
        loaded = load_config(folder / "tiny.yaml", [f"precision={precision}"], plugins)
        done: Path = run_pipeline(loaded, plugins, folder / precision).folder
        return [json.loads(line) for line in (done / "log.jsonl").read_text().splitlines()]

    return train


def test_losses_are_computed_in_32_bits_and_are_nearly_those_of_32_bits(train, monkeypatch):
    exact = train("32-true")
    of_losses, of_networks, autocast = set(), set(), set()

    def watch(place, name, result_of, seen):
        original = getattr(place, name)

        def watched(*args, **kwargs):
            found = original(*args, **kwargs)
            seen.add(result_of(args, found).dtype)
            autocast.add((name, torch.is_autocast_enabled("cpu")))
            return found

        monkeypatch.setattr(place, name, watched)

    watch(distances, "sobel", lambda args, found: args[0], of_losses)
    watch(distances, "_ssim_map", lambda args, found: args[0], of_losses)
    watch(transforms, "rotate", lambda args, found: args[0], of_losses)
    watch(UNet, "forward", lambda args, found: found, of_networks)
    mixed = train("bf16-mixed")
    assert of_losses == {torch.float32}
    assert of_networks == {torch.bfloat16}
    assert autocast == {
        ("sobel", False),
        ("_ssim_map", False),
        ("rotate", False),
        ("forward", True),
    }
    first = next(line for line in mixed if "loss" in line)
    same = next(line for line in exact if "loss" in line)
    for name in ("rmse/infrared", "rmse/visible"):
        assert mixed[0][name] == pytest.approx(exact[0][name], rel=2**-7)
    for name in ("loss", "loss/sensing", "loss/sensing-2", "loss/equivariance"):
        assert first[name] == pytest.approx(same[name], rel=2**-6), name
