"""The training loops on a device whose values can't be read without waiting for it.

The device is a stand-in, so that this runs without a GPU: its tensors hold their values on the CPU
but show none of them, they refuse to mix with tensors of the CPU, and what would make a program
wait for a GPU is an error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.accelerators import CPUAccelerator
from lightning_fabric.strategies import SingleDeviceStrategy
from safetensors.torch import load_file
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

from fusionkit.config.run_config import load_config
from fusionkit.errors import FusionkitError
from fusionkit.registry.plugins import load_plugins
from fusionkit.runs import components, pipeline
from fusionkit_emma import batches, epochs, losses

RECIPE = """\
name: tiny
accelerator: cpu
data: {name: scenes, size: 48, train: 7, val: 1}
teacher: [{name: average}, {name: max}]
sensors:
  infrared: {name: unet, width: 2}
  visible: {name: unet, width: 2}
backbone: {name: ufuser, channels: [4, 8], heads: 4}
transforms: [{name: shift, count: 1}, {name: rotate, count: 1}, {name: reflect, count: 1}]
losses:
  - {name: sensing, noise: 0.02}
  - {name: sensing, weight: 0.1, distance: {name: ssim}}
  - {name: equivariance, weight: 0.1, elements: 3, identity: true, masked: true, noise: 0.02}
stages:
  - {name: train-sensors, epochs: 1, batch_size: 2, crop: 32, noise: 0.1, augment: true,
     blend: true}
  - {name: train-backbone, distill: {weight: 1.0}, epochs: 1, batch_size: 2, crop: 32,
     clip: 1.0, augment: true, average: {decay: 0.9}}
"""
ONE_STAGE = (
    "sensors={}",
    "losses=[{name: sensing, direct: true}]",
    "stages=[{name: train-backbone, epochs: 2, batch_size: 2, crop: 32}]",
)
DEVICE = torch.device("meta")  # PyTorch can train on it without a GPU, as it never looks inside

WAITING = {
    "_local_scalar_dense": "reads a value",
    "equal": "reads a value",
    "is_nonzero": "reads a value",
    "nonzero": "has a result whose shape is a value",
    "masked_select": "has a result whose shape is a value",
    "_unique2": "has a result whose shape is a value",
    "_linalg_check_errors": "reads whether it failed",
}


class Watch:
    """Whether waiting for the device is an error now, and how often the loop read it."""

    def __init__(self) -> None:
        self.strict = False
        self.reads = 0

    def waits(self, func: Any, why: str) -> None:
        if self.strict:
            raise AssertionError(f"{func} {why}: the CPU would wait for the device")


class Remote(Tensor):
    """A tensor on the device."""

    values: Tensor
    watch: Watch

    @staticmethod
    def __new__(cls, values: Tensor, watch: Watch):
        # The name is private, but what the documentation of PyTorch for such classes uses.
        found = Tensor._make_wrapper_subclass(
            cls,
            values.shape,
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            device=DEVICE,
        )
        found.values, found.watch = values, watch
        return found

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        watch = next(
            x for x in tensors_in((*args, *(kwargs or {}).values())) if type(x) is cls
        ).watch
        return compute(watch, func, args, kwargs or {})

    def __reduce_ex__(self, protocol: int):  # torch.save reads tensors of a GPU too
        return self.values.__reduce_ex__(protocol)

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def __repr__(self, *, tensor_contents=None) -> str:
        return f"Remote({tuple(self.shape)})"


class OnDevice(TorchDispatchMode):
    """Makes tensors on the device where they are asked for by ``device=`` or ``.to``."""

    def __init__(self, watch: Watch):
        super().__init__()
        self.watch = watch

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return compute(self.watch, func, args, kwargs or {})


def compute(watch: Watch, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Do an operation where its tensors are."""
    name = func.overloadpacket.__name__
    tensors = list(tensors_in((*args, *kwargs.values())))
    remote = [x for x in tensors if isinstance(x, Remote)]
    place = None if kwargs.get("device") is None else torch.device(kwargs["device"])
    there = bool(remote) if place is None else place == DEVICE
    if not there and not remote:
        return func(*args, **kwargs)
    local = [x for x in tensors if not isinstance(x, Remote)]
    if name == "copy_":
        there = isinstance(args[0], Remote)
        if isinstance(args[1], Remote) != there and not (len(args) > 2 and args[2] and there):
            watch.waits(func, "copies between CPU and device")
    elif name == "_to_copy":
        if there != bool(remote) and not (there and kwargs.get("non_blocking")):
            watch.waits(func, "copies between CPU and device")
    elif remote:
        if name in WAITING:
            watch.waits(func, WAITING[name])
        if name.startswith("index") and any(x.dtype == torch.bool for x in tensors[1:]):
            watch.waits(func, "counts the pixels of a mask")
        if any(x.device == DEVICE for x in local):
            raise AssertionError(f"{func}: `torch.tensor(..., device=...)` waits for its copy")
        if any(x.dim() for x in local):
            raise AssertionError(f"{func}: tensors on the CPU and on the device")
    if place is not None:
        kwargs = {**kwargs, "device": "cpu"}
    found = func(*map(inside, args), **{key: inside(value) for key, value in kwargs.items()})
    if not there:
        return args[0] if name == "copy_" else found
    if isinstance(found, list | tuple):
        found = type(found)(x if x is None else Remote(x, watch) for x in found)
    elif isinstance(found, Tensor):
        found = Remote(found, watch)
    return return_and_correct_aliasing(func, args, kwargs, found) if remote else found


def tensors_in(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from tensors_in(value)


def inside(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(map(inside, value))
    return value.values if isinstance(value, Remote) else value


class Accelerator(CPUAccelerator):
    """What Fabric asks about the device."""

    def setup_device(self, device: torch.device) -> None:
        """There is nothing to set up."""


@pytest.fixture(scope="module")
def plugins():
    return load_plugins()


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    recipe = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    recipe.write_text(RECIPE)
    return recipe


@pytest.fixture(scope="module")
def on_cpu(recipe, plugins, tmp_path_factory) -> Path:
    loaded = load_config(recipe, [], plugins)
    return pipeline.run_pipeline(loaded, plugins, tmp_path_factory.mktemp("cpu")).folder


@pytest.fixture
def train(recipe, plugins, tmp_path, monkeypatch):
    """Return a function that trains on the device, and what it noted."""
    watch = Watch()
    strategy = SingleDeviceStrategy(DEVICE, accelerator=Accelerator())
    monkeypatch.setattr(pipeline, "_fabric", lambda run: Fabric(strategy=strategy))
    monkeypatch.setattr(epochs, "READ_EVERY", 2)
    make, iterate, read = batches.Batches._make, epochs.Epoch.__iter__, epochs.Epoch._read

    def make_in_thread(self, number: int) -> Iterator[Any]:
        made = make(self, number)
        while True:
            with OnDevice(watch):  # such modes belong to one thread
                item = next(made, None)
            if item is None:
                return
            yield item

    def strict_loop(self) -> Iterator[Any]:
        watch.strict = True
        yield from iterate(self)
        watch.strict = False

    def counted_read(self) -> None:
        before, watch.strict = watch.strict, False
        watch.reads += 1
        read(self)
        watch.strict = before

    monkeypatch.setattr(batches.Batches, "_make", make_in_thread)
    monkeypatch.setattr(epochs.Epoch, "__iter__", strict_loop)
    monkeypatch.setattr(epochs.Epoch, "_read", counted_read)

    def train(*overrides: str) -> tuple[Path, Watch]:
        loaded = load_config(recipe, overrides, plugins)
        with _swapped_parameters(), OnDevice(watch):
            return pipeline.run_pipeline(loaded, plugins, tmp_path / "run").folder, watch

    return train


@contextmanager
def _swapped_parameters() -> Iterator[None]:
    """Let modules take tensors of another class when they move to the device."""
    before = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)
    yield
    torch.__future__.set_swap_module_params_on_conversion(before)


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_the_loops_wait_for_the_device_only_to_read_several_steps_at_once(
    train, on_cpu, monkeypatch
):
    monkeypatch.setattr(components, "FEWEST", 2)  # other processes make the patches
    folder, watch = train()
    assert watch.reads == 2 * 2  # two epochs of three steps: after two, and at the end
    expected, found = lines(on_cpu), lines(folder)
    assert len(found) == 2 * (3 + 1)
    for one, other in zip(expected, found, strict=True):
        del one["time"], other["time"]
        assert one.pop("stage") == other.pop("stage")
        assert one == pytest.approx(other, rel=1e-5)
    for path in sorted((on_cpu / "checkpoints").glob("*.safetensors")):
        one, other = load_file(path), load_file(folder / "checkpoints" / path.name)
        for name, weight in one.items():
            torch.testing.assert_close(weight, other[name], rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize(
    "look",
    [
        lambda x: x.item(),
        lambda x: float(x),
        lambda x: bool(x > 0),
        lambda x: x.cpu(),
        lambda x: x.tolist(),
        lambda x: x.cpu().numpy(),
        lambda x: x.reshape(1)[x.reshape(1) > 0],
        lambda x: torch.equal(x, x),
        lambda x: x.to(DEVICE).add_(torch.tensor([1.0]).to(DEVICE)),
        lambda x: x * torch.tensor([1.0], device=DEVICE),
        lambda x: x * torch.ones(1),
    ],
)
def test_a_look_at_a_loss_in_the_loop_would_be_noticed(train, monkeypatch, look):
    forward = losses.Sensing.forward

    def looking(self, step):
        found = forward(self, step)
        look(found)
        return found

    monkeypatch.setattr(losses.Sensing, "forward", looking)
    with pytest.raises(AssertionError):
        train(*ONE_STAGE)


def test_a_fault_is_named_when_it_is_read_and_nothing_after_it_is_saved(
    train, tmp_path, monkeypatch
):
    forward, calls = losses.Sensing.forward, []

    def spoilt(self, step):
        calls.append(1)
        # Of the first epoch there are three steps and the validation.
        return forward(self, step) * (float("nan") if len(calls) == 3 + 1 + 1 else 1)

    monkeypatch.setattr(losses.Sensing, "forward", spoilt)
    with pytest.raises(FusionkitError) as error:
        train(*ONE_STAGE)
    assert len(calls) == 6  # one step more, before the numbers were read
    message = str(error.value)
    assert "0-train-backbone" in message
    assert "step 4," in message
    assert "loss/sensing" in message
    assert len(re.findall(r"[a-z]+-\d{5}", message)) == 2
    logged = lines(tmp_path / "run")
    assert [line["step"] for line in logged if "lr" in line] == [1, 2, 3]
    state = torch.load(
        tmp_path / "run" / "checkpoints" / "0-train-backbone.progress.pt", weights_only=True
    )
    assert state["epochs"] == 1
    assert all(tensor.isfinite().all() for tensor in state["backbone"].values())
