"""Weights files rebuild their own network, and say what is wrong with those that can't."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

import fusionkit as fk
from fusionkit.errors import FusionkitError
from fusionkit.interfaces import Backbone
from fusionkit.registry.components import Registry
from fusionkit.registry.weights import load_weights, read_header


def small():
    return fk.build("backbone", name="ufuser", channels=[4, 8], heads=4)


def test_a_file_rebuilds_its_network(tmp_path):
    network = small()
    fk.save(network, tmp_path / "a.safetensors")
    again = fk.load(tmp_path / "a.safetensors")
    assert not again.training
    assert again.stride == 2
    x = {m: torch.rand(1, 1, 16, 16) for m in ("infrared", "visible")}
    assert torch.equal(again(x), network.eval()(x))


def test_modalities_of_the_run_travel_with_the_file(tmp_path):
    from fusionkit.registry.arguments import make_spec
    from fusionkit.registry.plugins import load_installed_plugins

    registry = load_installed_plugins().registry
    spec = make_spec(registry, "backbone", "ufuser", {"channels": [4, 8], "heads": 4})
    network = registry.build(spec, ("mri", "pet"))
    fk.save(network, tmp_path / "a.safetensors")
    assert fk.load(tmp_path / "a.safetensors").modalities == ("mri", "pet")  # type: ignore[attr-defined]


def test_what_is_no_weights_file(tmp_path):
    with pytest.raises(FusionkitError, match="expected a run folder or weights file"):
        fk.load(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(FusionkitError, match=r"text.safetensors is no safetensors file"):
        fk.load(tmp_path / "text.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(FusionkitError, match="does not say which network it belongs to"):
        fk.load(tmp_path / "foreign.safetensors")
    with pytest.raises(FusionkitError, match="holds no trained backbone"):
        fk.load(tmp_path)
    fk.save(fk.build("sensor", name="unet", width=2), tmp_path / "sensor.safetensors")
    with pytest.raises(FusionkitError, match="holds a sensor, not a backbone"):
        fk.load(tmp_path / "sensor.safetensors")


def test_tensors_that_do_not_fit_are_named(tmp_path):
    network = small()
    state = network.state_dict()
    state["last.0.bias"] = torch.zeros(2)
    state["extra"] = state.pop("V_down1.weight")
    from fusionkit.registry.weights import save_weights

    save_weights(network, tmp_path / "a.safetensors", state)
    with pytest.raises(FusionkitError) as error:
        fk.load(tmp_path / "a.safetensors")
    assert "V_down1.weight is missing" in str(error.value)
    assert "extra is not part of the network" in str(error.value)
    assert "last.0.bias has shape (2,), expected (1,)" in str(error.value)


def test_a_component_made_by_hand_can_not_be_saved(tmp_path):
    from fusionkit_emma.ufuser import UFuser

    with pytest.raises(FusionkitError, match="was not built by name"):
        fk.save(UFuser(channels=(4, 8), heads=4), tmp_path / "a.safetensors")


def test_build_validates_its_arguments():
    with pytest.raises(FusionkitError, match="no argument 'chanels'; did you mean 'channels'"):
        fk.build("backbone", name="ufuser", chanels=[4])
    with pytest.raises(FusionkitError, match="width: expected greater than or equal to 1, found 0"):
        fk.build("sensor", name="unet", width=0)


def save_raw(path, component, state, kind="backbone"):
    """Write a weights file as a stranger would, around whatever ``save_weights`` checks."""
    header = {"format": "fusionkit-1", "kind": kind, "component": json.dumps(component)}
    save_file(state, path, header)


def test_equal_weights_give_equal_files(tmp_path):
    network = small()
    for number in range(8):  # safetensors orders its metadata at random
        fk.save(network, tmp_path / f"{number}.safetensors")
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_a_file_that_was_written_in_order_is_read_by_safetensors(tmp_path):
    network = small()
    fk.save(network, tmp_path / "a.safetensors")
    found = load_file(tmp_path / "a.safetensors")
    assert found.keys() == network.state_dict().keys()
    assert all(torch.equal(found[key], value) for key, value in network.state_dict().items())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_are_refused(tmp_path, value):
    network = small()
    state = network.state_dict()
    state["last.0.bias"][0] = value
    with pytest.raises(FusionkitError, match=r"last\.0\.bias"):
        fk.save(network, tmp_path / "a.safetensors")
    assert list(tmp_path.iterdir()) == []
    save_raw(tmp_path / "a.safetensors", network.spec.to_dict(), state)
    with pytest.raises(FusionkitError, match=r"a\.safetensors.*last\.0\.bias"):
        fk.load(tmp_path / "a.safetensors")


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.bool, torch.complex64])
def test_weights_of_another_kind_of_number_are_refused(tmp_path, dtype):
    network = small()
    state = network.state_dict()
    state["last.0.bias"] = state["last.0.bias"].to(dtype)
    save_raw(tmp_path / "a.safetensors", network.spec.to_dict(), state)
    with pytest.raises(FusionkitError, match=r"last\.0\.bias is (int|bool|complex)"):
        fk.load(tmp_path / "a.safetensors")


def test_half_precision_is_welcome(tmp_path):
    network = small()
    state = {key: value.half() for key, value in network.state_dict().items()}
    save_raw(tmp_path / "a.safetensors", network.spec.to_dict(), state)
    assert next(fk.load(tmp_path / "a.safetensors").parameters()).dtype == torch.float32


@pytest.mark.parametrize(
    "component",
    ["ufuser", 3, [], {}, {"name": 3}, {"name": "ufuser", "1": 2}, {"name": "ufuser", "heads": {}}],
)
def test_a_header_that_makes_no_sense_is_refused(tmp_path, component):
    save_raw(tmp_path / "a.safetensors", component, small().state_dict())
    with pytest.raises(FusionkitError, match=r"a\.safetensors"):
        fk.load(tmp_path / "a.safetensors")


def test_a_header_that_is_no_json_is_refused(tmp_path):
    header = {"format": "fusionkit-1", "kind": "backbone", "component": "{" * 100_000}
    save_file(small().state_dict(), tmp_path / "a.safetensors", header)
    with pytest.raises(FusionkitError, match=r"a\.safetensors"):
        fk.load(tmp_path / "a.safetensors")
    del header["kind"]
    save_file(small().state_dict(), tmp_path / "b.safetensors", header)
    with pytest.raises(FusionkitError, match=r"b\.safetensors"):
        fk.load(tmp_path / "b.safetensors")


@pytest.mark.parametrize(
    ("kind", "component"),
    [
        ("dataset", {"name": "scenes"}),
        ("task", {"name": "segmentation"}),
        ("stage", {"name": "fuse"}),
        ("wormhole", {"name": "ufuser"}),
    ],
)
def test_a_file_builds_nothing_but_networks(tmp_path, monkeypatch, kind, component):
    monkeypatch.setattr(Registry, "build", lambda *_: pytest.fail("something was built"))
    save_raw(tmp_path / "a.safetensors", component, {"a": torch.zeros(1)}, kind)
    with pytest.raises(FusionkitError, match=rf"a\.safetensors.*{kind}"):
        fk.load(tmp_path / "a.safetensors")


class Deep(Backbone):
    """A backbone of any depth and width, made by a third party."""

    name = "deep"

    def __init__(self, depth: int = 1, width: int = 1):
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Conv2d(1, width, 3) for _ in range(depth))

    def forward(self, sources):
        return sources["infrared"]


@pytest.mark.parametrize("arguments", [{"depth": 1 << 40}, {"width": 1 << 28}, {"width": 1 << 60}])
def test_a_network_larger_than_its_file_is_not_built(tmp_path, monkeypatch, arguments):
    registry = Registry()
    registry.add(Deep, "third party")
    save_raw(tmp_path / "a.safetensors", {"name": "deep"}, Deep().state_dict())
    assert len(load_weights(tmp_path / "a.safetensors", registry).layers) == 1
    save_raw(tmp_path / "b.safetensors", {"name": "deep", **arguments}, Deep().state_dict())
    filled = []

    def fill(layer):
        filled.append(layer.weight.numel())
        assert len(filled) < 1000

    with monkeypatch.context() as patch:
        patch.setattr(torch.nn.Conv2d, "reset_parameters", fill)
        with pytest.raises(FusionkitError, match=r"b\.safetensors"):
            load_weights(tmp_path / "b.safetensors", registry)
    assert sum(filled) < 1000
    assert len(Deep(depth=100).layers) == 100  # the limit ends with the file


def test_weights_never_ask_for_pretrained_ones(tmp_path, monkeypatch):
    timm = pytest.importorskip("timm")
    network = fk.build("backbone", name="timm-unet", encoder="test_resnet")
    asked = []
    create = timm.create_model

    def watch(name, pretrained=False, **rest):
        asked.append(pretrained)
        return create(name, pretrained=False, **rest)

    monkeypatch.setattr(timm, "create_model", watch)
    component = {**network.spec.to_dict(), "pretrained": True}
    save_raw(tmp_path / "a.safetensors", component, network.state_dict())
    fk.load(tmp_path / "a.safetensors")
    assert asked
    assert not any(asked)
    network.spec = replace(network.spec, arguments={**network.spec.arguments, "pretrained": True})
    fk.save(network, tmp_path / "b.safetensors")
    assert read_header(tmp_path / "b.safetensors")[1]["pretrained"] is False
