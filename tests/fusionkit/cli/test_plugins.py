"""What is installed, as a user asks for it: plugins, schema, doctor and models."""

from __future__ import annotations

import json

from fusionkit.registry import plugin_cache
from fusionkit.registry.model_cards import read_model
from fusionkit.registry.plugin_cache import listing_of
from fusionkit.registry.plugins import load_installed_plugins


def test_plugins_schema_and_doctor(fusionkit):
    code, out, _ = fusionkit("plugins", "list")
    assert code == 0
    assert "ufuser  (fusionkit-emma)" in out
    assert "emma.yaml" in out
    code, out, _ = fusionkit("plugins", "show", "loss", "equivariance")
    assert code == 0
    assert "elements: null    # int >= 1 | null" in out
    code, out, _ = fusionkit("plugins", "show", "transform", "shift")
    assert ">>> generator = torch.Generator()" in out
    code, out, _ = fusionkit("schema")
    assert json.loads(out)["$defs"]["backbone"]["oneOf"]
    code, out, _ = fusionkit("schema", "--suite")
    assert json.loads(out)["properties"]["methods"]
    code, out, _ = fusionkit("doctor")
    assert code == 0
    assert "torch" in out
    assert "fusionkit-emma (fusionkit-mmif" in out


def test_models_are_listed_and_their_cards_printed(fusionkit, tmp_path, monkeypatch, write_model):
    plugins = load_installed_plugins()
    monkeypatch.setattr(plugins, "models", {"small": read_model(write_model(tmp_path))})
    monkeypatch.setattr(plugin_cache, "installed_listing", lambda: listing_of(plugins))
    code, out, _ = fusionkit("models")
    assert code == 0
    assert "small" in out
    assert "infrared, visible" in out
    code, out, _ = fusionkit("models", "small")
    assert code == 0
    assert "TNO: EN 6.5, VIF 0.6123" in out
    code, _, said = fusionkit("models", "smal")
    assert code == 2
    assert "did you mean 'small'" in said
    monkeypatch.setattr(plugins, "models", {})
    assert "no installed plugin ships a trained model" in fusionkit("models")[2]
