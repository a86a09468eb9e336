"""The official training step and ours have the same loss and the same gradients."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from fusionkit_emma.ufuser import UFuser

ROOT = Path(__file__).parents[2]


@pytest.fixture
def training(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.delitem(sys.modules, "benchmarks", raising=False)
    if importlib.util.find_spec("benchmarks.speed") is None:
        pytest.skip("benchmarks/ is not part of an installation")
    from benchmarks.speed import training

    return training


def test_networks_have_the_same_weights(training):
    plain = training.official_step.PlainUFuser().state_dict()
    shapes = {name: tensor.shape for name, tensor in UFuser().state_dict().items()}
    assert {name: tensor.shape for name, tensor in plain.items()} == shapes


# Single precision rounds gradients of nearly equal channels; see test_parity.py.
@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 1e-8), (torch.float32, 1e-4)])
def test_loss_and_gradients_are_the_official_ones(training, dtype, error):
    steps = training.Steps(4, (2, 32, 48), dtype=dtype)
    ours, official = steps.our_loss(), steps.official_loss()
    assert ours.item() == pytest.approx(official.item(), rel=error)
    ours.backward()
    official.backward()
    gradients = training.gradients_of(steps.ours)
    for name, expected in training.gradients_of(steps.plain).items():
        gap = (gradients[name] - expected).norm()
        scale = max(expected.norm(), 1e-4)
        assert gap <= error * scale, name
