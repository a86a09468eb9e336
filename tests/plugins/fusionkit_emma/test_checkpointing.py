"""Activation checkpointing: equal gradients, statistics and weights, in less memory."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from fusionkit.config.run_config import load_config
from fusionkit.io.hashes import file_hash
from fusionkit.registry.plugins import load_plugins
from fusionkit.runs.pipeline import run_pipeline
from fusionkit_emma.checkpointing import checkpoint_activations
from fusionkit_emma.objective import freeze
from fusionkit_emma.unet import UNet

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


def backward(sensor: UNet, images: torch.Tensor) -> tuple[list[torch.Tensor], int]:
    """Return what a step changes, and the bytes that were kept for it."""
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    images = images.clone().requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = sensor(images).square().mean()
    loss.backward()
    gradients = [p.grad for p in sensor.parameters() if p.requires_grad]
    return [loss.detach(), images.grad, *gradients, *sensor.buffers()], sum(kept.values())


@pytest.mark.parametrize("frozen", [False, True])
def test_gradients_and_statistics_are_equal_in_less_memory(frozen):
    torch.manual_seed(0)
    plain = freeze(UNet(width=4)) if frozen else UNet(width=4)
    checkpointed = copy.deepcopy(plain)
    checkpoint_activations(checkpointed)
    images = torch.rand(4, 1, 64, 64)
    for _ in range(2):
        expected, all_bytes = backward(plain, images)
        found, some_bytes = backward(checkpointed, images)
        for one, other in zip(expected, found, strict=True):
            assert torch.equal(one, other)
    assert some_bytes < 0.6 * all_bytes
    assert checkpointed.state_dict().keys() == plain.state_dict().keys()


def test_a_run_leaves_the_same_bytes_and_may_go_on_without_it(tmp_path: Path):
    plugins = load_plugins()
    (tmp_path / "tiny.yaml").write_text(RECIPE)

    def train(name: str, *overrides: str) -> dict[str, str]:
        loaded = load_config(tmp_path / "tiny.yaml", overrides, plugins)
        folder = run_pipeline(loaded, plugins, tmp_path / name).folder / "checkpoints"
        return {path.name: file_hash(path) for path in folder.glob("*.safetensors")}

    plain = train("plain")
    assert len(plain) == 6
    with pytest.MonkeyPatch.context() as patch:
        seen = []
        for place in ("fusionkit_emma.objective", "fusionkit_emma.train_sensors"):
            patch.setattr(
                f"{place}.checkpoint_activations",
                lambda network: (seen.append(network), checkpoint_activations(network)),
            )
        assert train("run", "activation_checkpointing=true") == plain
    assert len(seen) == 4
    assert train("run", "stages.train-backbone.epochs=1") == plain
