"""Batches that are trained in parts: losses, gradients and weights are those of the whole batch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import fusionkit as fk
from fusionkit.config.run_config import load_config
from fusionkit.errors import FusionkitError
from fusionkit.interfaces import BatchShare
from fusionkit.registry.plugins import load_plugins
from fusionkit.runs.pipeline import run_pipeline
from fusionkit_emma.batches import RandomOrder

# Everything that is drawn for each image: crops, turns, noise; masks, clipping, averages.
RECIPE = """\
name: tiny
accelerator: cpu
data: {name: scenes, size: 48, train: 9, val: 1}
teacher: [{name: saliency}, {name: average}]
sensors:
  infrared: {name: unet, width: 2}
  visible: {name: unet, width: 2}
backbone: {name: ufuser, channels: [4, 8], heads: 4}
transforms: [{name: shift, count: 2}, {name: rotate, count: 1}]
losses:
  - {name: sensing, noise: 0.02}
  - {name: equivariance, weight: 0.1, elements: 2, identity: true, masked: true, noise: 0.02}
stages:
  - {name: train-sensors, epochs: 1, batch_size: 4, crop: 32}
  - {name: train-backbone, distill: {epochs: 1, weight: 1.0}, epochs: 1, batch_size: 4, crop: 32,
     augment: true, blend: true, clip: 1.0, average: {decay: 0.9},
     optimizer: {name: sgd, lr: 0.05}}  # Adam makes long steps out of small errors
"""


@pytest.fixture(scope="module")
def plugins():
    return load_plugins()


@pytest.fixture(scope="module")
def train(tmp_path_factory, plugins):
    """Return a function that trains in parts; it returns the folder and the gradients."""
    recipe = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    recipe.write_text(RECIPE)

    def train(parts: int) -> tuple[Path, list[torch.Tensor]]:
        loaded = load_config(recipe, [f"stages.train-backbone.accumulate={parts}"], plugins)
        gradients = []
        step = torch.optim.SGD.step

        def noting_step(self, *args, **kwargs):
            found = [p.grad.flatten() for g in self.param_groups for p in g["params"]]
            gradients.append(torch.cat(found).clone())
            return step(self, *args, **kwargs)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.optim.SGD, "step", noting_step)
            folder = run_pipeline(loaded, plugins, tmp_path_factory.mktemp("run")).folder
        return folder, gradients

    return train


@pytest.fixture(scope="module")
def whole(train):
    return train(1)


def lines(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_parts_have_the_losses_gradients_and_weights_of_the_whole(whole, train):
    folder, gradients = train(4)
    assert len(gradients) == len(whole[1]) == 2 + 2
    for one, other in zip(whole[1], gradients, strict=True):
        assert (one - other).norm() <= 1e-5 * one.norm()
    expected, found = lines(whole[0]), lines(folder)
    for one, other in zip(expected, found, strict=True):
        assert one.keys() == other.keys()
        for name in one.keys() - {"time", "stage"}:
            assert one[name] == pytest.approx(other[name], rel=1e-5, abs=1e-6), name
    for name in ("backbone.safetensors", "teacher.safetensors"):
        one, other = (load_file(place / "checkpoints" / name) for place in (whole[0], folder))
        for key, weight in one.items():
            torch.testing.assert_close(other[key], weight, rtol=0, atol=1e-6, msg=key)


def test_batches_that_have_no_equal_parts_are_refused(train):
    with pytest.raises(FusionkitError, match="accumulate"):
        train(3)


def test_a_backbone_with_batch_norms_is_refused(plugins, tmp_path):
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    backbone = fk.build("backbone", name="timm-unet", encoder="resnet10t", pretrained=False)
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in backbone.modules())
    overrides = [
        "backbone={name: timm-unet, encoder: resnet10t, pretrained: false}",
        "stages.train-backbone.accumulate=2",
    ]
    loaded = load_config(tmp_path / "tiny.yaml", overrides, plugins)
    with pytest.raises(FusionkitError, match=r"accumulate.*batch norms"):
        run_pipeline(loaded, plugins, tmp_path / "run")


def test_a_last_batch_of_too_few_patches_is_shortened_to_equal_parts():
    def order(count: int, parts: int) -> list[int]:
        return list(RandomOrder(count, torch.Generator().manual_seed(0), BatchShare(), parts=parts))

    assert order(7, 2) == order(7, 1)[:6]
    assert order(9, 4) == order(9, 1)[:8]
