"""Whoever misses a component is told which plugins could not be loaded."""

from __future__ import annotations

import pytest

import fusionkit as fk
from fusionkit.benchmark.suite import load_suite
from fusionkit.config.run_config import load_config
from fusionkit.errors import FusionkitError
from fusionkit.registry.arguments import make_spec
from fusionkit.registry.plugins import load_plugins

TOLD = ["plugin-bad", "RuntimeError: no licence found"]


@pytest.fixture
def bad(make_plugin):
    return make_plugin("bad", "raise RuntimeError('no licence\\nfound')")


@pytest.fixture
def plugins(bad):
    import importlib.metadata

    from fusionkit.registry.plugins import GROUP

    return load_plugins([*importlib.metadata.entry_points(group=GROUP), bad])


def test_the_registry_tells(plugins):
    with pytest.raises(FusionkitError) as error:
        plugins.registry.get("backbone", "gate")
    assert all(word in str(error.value) for word in ["'gate'", *TOLD])


def test_recipes_models_and_official_weights_tell(plugins, tmp_path):
    from fusionkit.registry.model_cards import model_for, model_named
    from fusionkit.registry.official_weights import convert_official

    hint = plugins.registry.hint
    for call in (
        lambda: plugins.recipe("gate.yaml"),
        lambda: model_named("gate", plugins.models, hint),
        lambda: model_for(["a", "b"], plugins.models, hint),
        lambda: convert_official(tmp_path / "x", tmp_path / "x.safetensors", "gate", plugins),
    ):
        with pytest.raises(FusionkitError) as error:
            call()
        assert all(word in str(error.value) for word in TOLD)


def test_nested_components_tell_and_other_mistakes_do_not(plugins):
    with pytest.raises(FusionkitError) as error:
        make_spec(plugins.registry, "loss", "sensing", {"distance": {"name": "gate"}})
    assert all(word in str(error.value) for word in ["'gate'", *TOLD])
    with pytest.raises(FusionkitError) as error:
        make_spec(plugins.registry, "loss", "sensing", {"noise": "x"})
    assert "plugin-bad" not in str(error.value)


def test_configurations_and_suites_tell_once(plugins, tmp_path):
    with pytest.raises(FusionkitError) as error:
        load_config("emma.yaml", ["backbone.name=gate", "data.name=gate"], plugins)
    assert str(error.value).count("plugin-bad") == 1
    suite = tmp_path / "suite.yaml"
    suite.write_text("name: x\ndata: {a: {name: gate}}\nmethods: {}\ntasks: {b: {name: gate}}\n")
    with pytest.raises(FusionkitError) as error:
        load_suite(suite, [], plugins)
    assert str(error.value).count("plugin-bad") == 1


@pytest.mark.parametrize(
    "command",
    [
        ["fuse", "--backbone", "gate", "-o", "out"],
        ["fuse", "--model", "gate", "-o", "out"],
        ["audit", "--backbone", "gate"],
        ["audit", "--backbone", "average", "--transform", "gate"],
        ["metrics", "--fused", "ir", "--metric", "gate"],
        ["bench", "suite.yaml"],
        ["run", "gate.yaml"],
        ["run", "emma.yaml", "backbone.name=gate"],
        ["plugins", "show", "backbone", "gate"],
        ["models", "gate"],
        ["convert", "x.pth", "x.safetensors", "--as", "gate"],
    ],
    ids=" ".join,
)
def test_every_command_tells(command, fusionkit, pairs, sources, bad, monkeypatch):
    import importlib.metadata

    real = importlib.metadata.entry_points

    def with_bad(**of):
        return [*real(**of), bad] if of.get("group") == "fusionkit" else real(**of)

    monkeypatch.setattr(importlib.metadata, "entry_points", with_bad)
    # Another value is another entry of the cache.
    monkeypatch.setenv("FUSIONKIT_DISABLE_PLUGINS", ",")
    monkeypatch.chdir(pairs)
    (pairs / "suite.yaml").write_text(
        "name: x\ndata: {a: {name: scenes}}\nmethods: {m: {backbone: {name: gate}}}\n"
        "tasks: {b: {name: fusion-metrics}}\n"
    )
    if command[0] in ("fuse", "audit", "metrics"):
        command = [*command, *sources]
    code, _, said = fusionkit(*command)
    assert code == 2
    assert all(word in said for word in TOLD), said
    with pytest.raises(FusionkitError) as error:
        fk.build("backbone", name="gate")
    assert all(word in str(error.value) for word in TOLD)
