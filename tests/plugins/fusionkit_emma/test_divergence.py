"""NaN and infinity in a training: where it stops, what it leaves, and how it goes on."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from fusionkit.config.run_config import load_config
from fusionkit.errors import FusionkitError
from fusionkit.registry.plugins import load_plugins
from fusionkit.runs.pipeline import run_pipeline
from fusionkit_emma.divergence import FiniteGuard
from fusionkit_emma.ufuser import UFuser
from fusionkit_emma.ufuser_training import UFuserTraining
from fusionkit_emma.unet import UNet

# Two steps of the optimizer an epoch: 1 to 4 train the sensors, 5 and 6 distil, 7 to 10 train under
# the losses.
RECIPE = """\
name: tiny
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
  - {name: train-sensors, epochs: 2, batch_size: 2, crop: 32}
  - {name: train-backbone, distill: {epochs: 1}, epochs: 2, batch_size: 2, crop: 32,
     average: {decay: 0.9}}
"""
CLIP = "stages.train-backbone.clip=1.0"
SENSORS, BACKBONE = "0-train-sensors", "1-train-backbone"
FIRST_STEP = {SENSORS: 1, BACKBONE: 5}

Train = Callable[..., Path]


@pytest.fixture(scope="module")
def plugins():
    return load_plugins()


@pytest.fixture(scope="module")
def train(tmp_path_factory, plugins) -> Train:
    """Return a function that runs the recipe in a folder with overrides."""
    recipe = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    recipe.write_text(RECIPE)

    def train(folder: Path, *overrides: str) -> Path:
        return run_pipeline(load_config(recipe, overrides, plugins), plugins, folder).folder

    return train


@pytest.fixture(scope="module")
def undisturbed(train, tmp_path_factory) -> Mapping[bool, dict[str, dict[str, Tensor]]]:
    """The weights of runs that nothing disturbed: with clipping, and without."""
    return {
        clip: weights(train(tmp_path_factory.mktemp("run"), *([CLIP] if clip else [])))
        for clip in (False, True)
    }


def weights(folder: Path) -> dict[str, dict[str, Tensor]]:
    return {path.name: load_file(path) for path in (folder / "checkpoints").glob("*.safetensors")}


def tensors_of(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_of(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors_of(item)


@contextmanager
def fault(kind: str, at: int, value: float = float("nan")) -> Iterator[None]:
    """Make a loss, a gradient or a weight NaN at one step of the optimizer, counted from 1.

    The loss is spoilt through the output of the network, and the gradient at the same place.
    """
    done = 0
    step = torch.optim.Adam.step
    forwards = {cls: cls.forward for cls in (UFuserTraining, UNet)}

    def spoilt_step(self, *args, **kwargs):
        nonlocal done
        done += 1
        found = step(self, *args, **kwargs)
        if kind == "weight" and done == at:
            with torch.no_grad():
                self.param_groups[0]["params"][0].view(-1)[0] = value
        return found

    def spoilt(forward):
        def forward_once_spoilt(self, images):
            out = forward(self, images)
            if done == at - 1 and self.training and torch.is_grad_enabled():
                if kind == "loss":
                    return out * value
                if kind == "gradient":
                    out.register_hook(lambda gradient: gradient * value)
            return out

        return forward_once_spoilt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.Adam, "step", spoilt_step)
        for cls, forward in forwards.items():
            patch.setattr(cls, "forward", spoilt(forward))
        yield


NAN, INF = float("nan"), float("inf")
FAULTS = [
    (SENSORS, "loss", 1, NAN, False),
    (SENSORS, "gradient", 3, NAN, False),
    (SENSORS, "weight", 4, INF, False),
    (BACKBONE, "loss", 5, INF, False),
    (BACKBONE, "gradient", 6, INF, False),
    (BACKBONE, "loss", 7, NAN, False),
    (BACKBONE, "gradient", 8, NAN, True),
    (BACKBONE, "weight", 10, NAN, True),
]


@pytest.mark.parametrize(("stage", "kind", "at", "value", "clip"), FAULTS)
def test_a_fault_stops_the_training_and_the_same_command_goes_on(
    train, undisturbed, tmp_path, stage, kind, at, value, clip
):
    overrides = [CLIP] if clip else []
    with fault(kind, at, value), pytest.raises(FusionkitError) as error:
        train(tmp_path, *overrides)
    message = str(error.value)
    step = at + 1 - FIRST_STEP[stage]
    epoch, progress = (step - 1) // 2, tmp_path / "checkpoints" / f"{stage}.progress.pt"
    assert stage in message
    assert f"step {step}," in message
    assert len(re.findall(r"[a-z]+-\d{5}", message)) == 2
    if kind == "loss":
        term = {SENSORS: "rmse/infrared", BACKBONE: "loss/teacher" if at < 7 else "loss/sensing"}
        assert term[stage] in message
    else:
        assert kind in message

    # what is left is good, and is what the message says
    assert progress.is_file() == (epoch > 0)
    assert (str(progress) in message) == (epoch > 0)
    if epoch:
        state = torch.load(progress, weights_only=True)
        assert state["epochs"] == epoch
        assert f"epoch {epoch}" in message
        assert all(tensor.isfinite().all() for tensor in tensors_of(state))
    assert not list((tmp_path / "checkpoints").glob(f"{stage}.*.safetensors"))
    for line in (tmp_path / "log.jsonl").read_text().splitlines() if at > 1 else []:
        json.loads(line, parse_constant=pytest.fail)

    found = weights(train(tmp_path, *overrides))
    expected = undisturbed[clip]
    assert found.keys() == expected.keys()
    for file, tensors in expected.items():
        for name, tensor in tensors.items():
            assert tensor.numpy().tobytes() == found[file][name].numpy().tobytes(), (file, name)


@pytest.mark.parametrize(("stage", "epochs"), [(SENSORS, 2), (BACKBONE, 3)])
def test_a_validation_that_is_no_number_stops_the_training(
    train, undisturbed, tmp_path, monkeypatch, stage, epochs
):
    # The weights are finite, but the networks give NaN for the larger images of the validation.
    network: type[nn.Module] = UNet if stage == SENSORS else UFuser
    forward = network.forward

    def spoilt(self, images):
        out = forward(self, images)
        return out if out.shape[-1] == 32 else out * float("nan")

    monkeypatch.setattr(network, "forward", spoilt)
    with pytest.raises(FusionkitError) as error:
        train(tmp_path)
    message = str(error.value)
    assert stage in message
    assert "val/" in message
    assert re.search(r"[a-z]+-\d{5}", message)
    monkeypatch.undo()
    found, expected = weights(train(tmp_path)), undisturbed[False]
    assert all(
        torch.equal(tensor, found[file][name])
        for file, tensors in expected.items()
        for name, tensor in tensors.items()
    )


@pytest.mark.parametrize("part", ["average", "optimizer"])
def test_a_part_that_is_no_number_never_replaces_a_good_checkpoint(
    train, tmp_path, monkeypatch, part
):
    from fusionkit_emma import train_backbone

    build = {"average": "build_average", "optimizer": "build_optimizer"}[part]
    original = getattr(train_backbone, build)

    def spoilt(*args):
        built = original(*args)
        state_dict, calls = built.state_dict, []

        def spoilt_state():
            calls.append(1)
            state = state_dict()
            if len(calls) > 1:  # the state after the first epoch is good
                next(t for t in tensors_of(state) if t.numel() > 1).view(-1)[0] = float("nan")
            return state

        built.state_dict = spoilt_state
        return built

    monkeypatch.setattr(train_backbone, build, spoilt)
    if part == "optimizer":  # Fabric wraps it
        from lightning_fabric.wrappers import _FabricOptimizer

        monkeypatch.setattr(
            _FabricOptimizer, "state_dict", lambda self: self.optimizer.state_dict()
        )
    with pytest.raises(FusionkitError) as error:
        train(tmp_path)
    assert part in str(error.value)
    assert "epoch 1" in str(error.value)
    state = torch.load(tmp_path / "checkpoints" / f"{BACKBONE}.progress.pt", weights_only=True)
    assert state["epochs"] == 1
    assert all(tensor.isfinite().all() for tensor in tensors_of(state))


def test_a_checkpoint_of_an_earlier_release_that_is_no_number_is_named(train, tmp_path):
    with fault("loss", 9), pytest.raises(FusionkitError):
        train(tmp_path)
    file = tmp_path / "checkpoints" / f"{BACKBONE}.progress.pt"
    state = torch.load(file, weights_only=True)
    next(tensors_of(state["backbone"])).view(-1)[0] = float("nan")
    torch.save(state, file)
    with pytest.raises(FusionkitError) as error:
        train(tmp_path)
    assert str(file) in str(error.value)


@pytest.mark.parametrize("value", [".inf", ".nan", "-1"])
@pytest.mark.parametrize(
    "key",
    [
        "losses.sensing.weight",
        "stages.train-sensors.optimizer.lr",
        "stages.train-backbone.optimizer.lr",
        "stages.train-backbone.distill.lr",
        "stages.train-backbone.distill.weight",
        "stages.train-backbone.distill.weight_end",
        "stages.train-backbone.clip",
        "stages.train-backbone.schedule.factor",
        "stages.train-backbone.average.decay",
        "stages.train-sensors.noise",
    ],
)
def test_numbers_that_no_training_can_use_are_refused(train, tmp_path, key, value):
    with pytest.raises(FusionkitError) as error:
        train(tmp_path / "run", f"{key}={value}")
    assert key.split(".")[-1] in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "override",
    [
        "losses.sensing.weight=1e30",
        "losses.sensing.weight=1e300",
        "stages.train-backbone.optimizer.lr=1e30",
        "stages.train-backbone.distill.lr=1e30",
        "stages.train-sensors.optimizer.lr=1e30",
        "stages.train-backbone.distill.weight=1e300",
    ],
)
def test_absurd_numbers_end_in_a_sentence(train, tmp_path, override):
    with pytest.raises(FusionkitError):
        train(tmp_path, override)
    for tensors in weights(tmp_path).values():
        assert all(tensor.isfinite().all() for tensor in tensors.values())


def problem_of(guard: FiniteGuard) -> str | None:
    numbers = {what: number.item() for what, number in guard.measure().items()}
    return guard.find_problem({"loss": 0.5}, numbers)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("part", ["weight", "gradient"])
def test_one_bad_number_among_huge_ones_is_found_and_no_other(part, value):
    layer = nn.Linear(64, 64)
    layer.weight.grad = torch.full((64, 64), -1e30)
    nn.init.constant_(layer.weight, 1e30)  # their squares are infinite in float32
    guard = FiniteGuard({"layer": layer})
    assert problem_of(guard) is None
    spoilt = layer.weight.detach() if part == "weight" else layer.weight.grad
    spoilt[5, 7] = value
    problem = problem_of(guard)
    assert problem is not None
    assert f"the {part} " in problem or f"the {part} of " in problem
    assert str(value) in problem
