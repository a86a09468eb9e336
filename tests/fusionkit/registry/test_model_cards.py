"""Models that plugins ship: found, checked, chosen by name or by the sources, refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import fusionkit as fk
from fusionkit.errors import FusionkitError
from fusionkit.registry.model_cards import card_text, model_for, model_named, names_of, read_model
from fusionkit.registry.plugins import load_plugins

PLUGIN = """
from pathlib import Path
from fusionkit import hookimpl

@hookimpl
def fusionkit_models():
    return [Path(PATH)]
"""


def plugin(make_plugin, name: str, card: Path):
    return make_plugin(name, PLUGIN.replace("PATH", repr(str(card))))


def test_a_model_of_a_plugin_is_found_and_loads(make_plugin, tmp_path, monkeypatch, write_model):
    plugins = load_plugins([plugin(make_plugin, "owner", write_model(tmp_path))])
    assert not plugins.broken
    model = plugins.models["small"]
    assert model.verify() == tmp_path / "small.safetensors"
    assert fk.load(model.verify()).name == "ufuser"


def test_a_file_that_is_not_the_one_of_the_card_is_refused(tmp_path, write_model):
    model = read_model(write_model(tmp_path))
    model.path.write_bytes(model.path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(FusionkitError, match=r"'small'.*SHA-256"):
        model.verify()
    model.path.unlink()
    with pytest.raises(FusionkitError, match=r"'small' lacks its weights .*small\.safetensors"):
        model.verify()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"terms": None}, r"no model card: terms: .*required"),
        ({"name": "No Name"}, r"no model card: name: "),
        ({"modalities": ["infrared"]}, r"no model card: modalities: "),
        ({"colour": "red"}, r"no model card: colour: "),
    ],
)
def test_what_is_no_card_takes_its_plugin_out(make_plugin, tmp_path, changes, message, write_model):
    card = write_model(tmp_path)
    values = {**yaml.safe_load(card.read_text()), **changes}
    card.write_text(yaml.safe_dump({k: v for k, v in values.items() if v is not None}))
    plugins = load_plugins([plugin(make_plugin, "owner", card)])
    assert not plugins.models
    with pytest.raises(FusionkitError, match=message):
        read_model(card)
    assert "no model card" in (plugins.broken[0].error or "")


def test_two_models_of_one_name_are_both_named(make_plugin, tmp_path, write_model):
    (tmp_path / "other").mkdir()
    first = plugin(make_plugin, "first", write_model(tmp_path))
    second = plugin(make_plugin, "second", write_model(tmp_path / "other"))
    plugins = load_plugins([first, second])
    error = plugins.broken[0].error or ""
    assert f"two models are called small: {tmp_path / 'small.safetensors'} and" in error
    assert plugins.models["small"].path.parent == tmp_path


def test_the_sources_choose_the_model(tmp_path, write_model):
    day = read_model(write_model(tmp_path, "day"))
    scan = read_model(write_model(tmp_path, "scan", modalities=["mri", "pet"]))
    models = {"day": day, "scan": scan}
    assert model_for(("visible", "infrared"), models) is day
    assert model_for(("mri", "pet"), models) is scan
    with pytest.raises(FusionkitError, match=r"no installed model for the sources mri, ct .*day: "):
        model_for(("mri", "ct"), models)
    models["night"] = read_model(write_model(tmp_path, "night"))
    with pytest.raises(FusionkitError, match=r"2 installed models for the sources .*--model"):
        model_for(("visible", "infrared"), models)
    with pytest.raises(FusionkitError, match=r"models: none\); give --model"):
        model_for(("mri", "ct"), {})


def test_sources_may_have_other_names(tmp_path, write_model):
    card = write_model(tmp_path, accepts={"infrared": ["thermal", "ir"], "visible": ["rgb"]})
    model = read_model(card)
    assert names_of(model.card, ["rgb", "thermal"]) == {"rgb": "visible", "thermal": "infrared"}
    assert model_for(["rgb", "infrared"], {"small": model}) is model
    assert names_of(model.card, ["thermal", "ir"]) is None
    assert names_of(model.card, ["thermal"]) is None
    assert names_of(model.card, ["thermal", "rgb", "depth"]) is None
    assert "fuses: infrared (or thermal, ir), visible (or rgb)" in card_text(model)


def test_names_that_are_not_there(tmp_path, write_model):
    models = {"small": read_model(write_model(tmp_path))}
    with pytest.raises(FusionkitError, match=r"nor a model of that name .*did you mean 'small'"):
        model_named("smal", models)


def test_a_card_reads_well(tmp_path, write_model):
    text = card_text(read_model(write_model(tmp_path)))
    assert text.startswith("small: A U-Fuser of two scales.\n")
    assert "TNO: EN 6.5, VIF 0.6123" in text
    assert "- It has learned nothing." in text
    assert all(len(line) <= 100 for line in text.splitlines() if "weights" not in line)
