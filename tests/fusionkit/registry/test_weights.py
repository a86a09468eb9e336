"""Weights files rebuild their own network, and say what is wrong with those that can't."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

import fusionkit as fk
from fusionkit.errors import FusionkitError


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
