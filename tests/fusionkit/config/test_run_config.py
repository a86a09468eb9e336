"""Every mistake in a configuration is cited with file, line and key."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from fusionkit.config.json_schema import json_schema
from fusionkit.config.run_config import load_config
from fusionkit.errors import FusionkitError
from fusionkit.registry.plugins import load_plugins

MINIMAL = """\
name: small
data: {name: scenes, size: 32, train: 4, val: 2}
teacher: [{name: average}]
backbone: {name: ufuser, channels: [4, 8], heads: 4}
sensors:
  infrared: {name: unet, width: 2}
  visible: {name: unet, width: 2}
transforms:
  - {name: shift, count: 2}
losses:
  - {name: sensing, distance: {name: l1-sobel}}
  - name: equivariance
    weight: 0.1
stages: [{name: train-sensors, epochs: 1}, {name: fuse}]
"""


@pytest.fixture(scope="module")
def plugins():
    return load_plugins()


@pytest.fixture
def load(tmp_path: Path, plugins):
    def load(text=MINIMAL, *overrides):
        path = tmp_path / "small.yaml"
        path.write_text(text)
        return load_config(path, overrides, plugins)

    return load


def test_a_configuration_and_its_defaults(load):
    config = load().config
    assert config.modalities == ("infrared", "visible")
    assert config.losses[0].weight == 1.0
    assert config.losses[1].weight == 0.1
    assert config.transforms[0].count == 2
    assert config.stages[0].arguments["batch_size"] == 64
    assert config.losses[0].component.arguments["distance"].name == "l1-sobel"


def test_the_resolved_configuration_runs_again(load, tmp_path, plugins):
    config = load().config
    text = config.to_yaml()
    again = load(text).config
    assert again.to_dict() == config.to_dict()
    assert again.to_yaml() == text


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("ufuser,", "ufusr,", r"small.yaml:4: backbone.name: no backbone 'ufusr'.*mean 'ufuser'"),
        ("heads", "haeds", r"small.yaml:4: backbone.haeds: .*no argument 'haeds'; did you mean"),
        ("size: 32", "size: big", r"small.yaml:2: data.size: expected a valid integer.*'big'"),
        ("size: 32", "size: 33", r"small.yaml:2: data.size: expected a multiple of 16, found 33"),
        ("weight: 0.1", "weight: -1", r"small.yaml:13: losses\[1\].weight: .*found -1"),
        ("weight: 0.1", "wieght: 1", r"small.yaml:13: losses\[1\].wieght: .*no argument 'wieght'"),
        ("l1-sobel", "l1-sobl", r"small.yaml:11: losses\[0\].distance.name: .*mean 'l1-sobel'"),
        ("epochs: 1", "epochs: 0", r"small.yaml:14: stages\[0\].epochs: .*found 0"),
        ("epochs: 1", "epochs: .nan", r"small.yaml:14: stages\[0\].epochs"),
        ("name: small", "nmae: small", r"small.yaml:1: nmae: unknown key 'nmae'; did you mean"),
        ("name: small", "name: a/b", r"small.yaml:1: name: String should match"),
        ("{name: fuse}", "fuse", r"small.yaml:14: stages\[1\]: expected a stage as \{name: ...\}"),
        ("{name: average}", "{nam: a}", r"small.yaml:3: teacher\[0\]: expected the key 'name'"),
        ("teacher: [{name: average}]", "teacher: selv", r"small.yaml:3: teacher: .*'self'"),
        ("  visible: {name", "  visual: {name", r"expected one sensor for each of the modalities"),
    ],
)
def test_mistakes_cite_file_line_and_key(load, old, new, message):
    assert old in MINIMAL
    with pytest.raises(FusionkitError, match=message):
        load(MINIMAL.replace(old, new))


def test_all_mistakes_come_at_once(load):
    text = MINIMAL.replace("size: 32", "size: 33").replace("epochs: 1", "epochs: 0")
    with pytest.raises(FusionkitError) as error:
        load(text)
    assert len(str(error.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [a", r"small.yaml:\d: no valid YAML"),
        ("name: a\nname: b", "small.yaml:2: the key name is there twice"),
        ("- a", "small.yaml:1: expected keys and values, found list"),
        ("name: small", r"small.yaml:1: data: this key is required"),
    ],
)
def test_files_that_are_no_configuration(load, text, message):
    with pytest.raises(FusionkitError, match=message):
        load(text)


def test_numbers_are_those_of_yaml_1_2(load):
    text = MINIMAL.replace("epochs: 1", "epochs: 1, optimizer: {lr: 1e-3}")
    assert load(text).config.stages[0].arguments["optimizer"].lr == 1e-3


def test_environment_variables_stand_for_their_values(load, monkeypatch):
    text = MINIMAL.replace("epochs: 1", 'epochs: "${FUSIONKIT_EPOCHS}"')
    monkeypatch.setenv("FUSIONKIT_EPOCHS", "3")
    assert load(text).config.stages[0].arguments["epochs"] == 3
    monkeypatch.delenv("FUSIONKIT_EPOCHS")
    with pytest.raises(
        FusionkitError, match=r"small.yaml:\d+: .*environment variable FUSIONKIT_EP"
    ):
        load(text)


def test_secrets_of_the_environment_stay_there(load, monkeypatch):
    monkeypatch.setenv("SECRET", "3")
    monkeypatch.setenv("FUSIONKIT_NAME", "mine")
    text = MINIMAL.replace("epochs: 1", 'epochs: "${SECRET}"')
    with pytest.raises(FusionkitError, match="SECRET may hold a secret"):
        load(text)
    # a name becomes a folder and a title
    with pytest.raises(FusionkitError, match=r"small\.yaml:1: name"):
        load(MINIMAL.replace("name: small", "name: ${FUSIONKIT_NAME}", 1))
    monkeypatch.setenv("FUSIONKIT_ALLOW_VARIABLES", "OTHER, SECRET")
    assert load(text).config.stages[0].arguments["epochs"] == 3


def test_missing_files_and_recipes(plugins):
    with pytest.raises(FusionkitError, match=r"nowhere/a\.yaml"):
        load_config("nowhere/a.yaml", [], plugins)
    with pytest.raises(FusionkitError, match=r"emme.yaml is neither a file nor a recipe.*emma"):
        load_config("emme.yaml", [], plugins)


def test_overrides_by_key_index_and_name(load):
    config = load(
        MINIMAL,
        "seed=7",
        "stages.0.epochs=3",
        "stages.train-sensors.optimizer.lr=1e-2",
        "losses.equivariance.weight=0.5",
        "data.size=64",
        "sensors.visible.width=3",
        "modalities=[infrared, visible]",
    ).config
    assert config.seed == 7
    assert config.stages[0].arguments["epochs"] == 3
    assert config.stages[0].arguments["optimizer"].lr == 1e-2
    assert config.losses[1].weight == 0.5
    assert config.data.arguments["size"] == 64
    assert config.sensors["visible"].arguments["width"] == 3


def test_another_component_drops_the_arguments_of_the_old_one(load, tmp_path):
    # in whichever order they are given
    for overrides in (
        ("data.name=paired-folders", f"data.root={tmp_path}"),
        (f"data.root={tmp_path}", "data.name=paired-folders"),
    ):
        data = load(MINIMAL, *overrides).config.data
        assert data.name == "paired-folders"
        assert data.arguments["root"] == tmp_path
        assert "size" not in data.arguments


def test_a_text_for_a_component_is_its_name(load):
    config = load(MINIMAL, "backbone=average", "teacher.0=max", "seed=1").config
    assert config.backbone.name == "average"
    assert "channels" not in config.backbone.arguments
    assert config.teacher[0].name == "max"


def test_overrides_can_add_a_section(load, tmp_path):
    test = load(MINIMAL, "test.name=paired-folders", f"test.root={tmp_path}").config.test
    assert test is not None
    assert test.arguments["root"] == tmp_path


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "expected an override as key=value"),
        ("data..size=1", "expected an override as key=value"),
        ('data."size=1', "expected an override as key=value"),
        ("stages.train-sensor.epochs=1", r"'train-sensor' .* .*mean 'train-sensors'"),
        ("stages.9.epochs=1", r"'9' .* \(items: 0 to 1"),
        ("name.x=1", "name is 'small', which has no key 'x'"),
        ("data.size=[", "has a value that is no YAML"),
        ("data.size=33", "command line, 'data.size=33': data.size: expected a multiple of 16"),
        ("data.sise=3", "command line, 'data.sise=3': data.sise: .*did you mean 'size'"),
    ],
)
def test_wrong_overrides(load, override, message):
    with pytest.raises(FusionkitError, match=message):
        load(MINIMAL, override)


def test_json_schema_accepts_what_is_right_and_refuses_what_is_wrong(plugins):
    schema = json_schema(plugins.registry)
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    right = yaml.safe_load(MINIMAL)
    assert not list(validator.iter_errors(right))
    wrong = json.loads(json.dumps(right))
    wrong["backbone"]["haeds"] = 4
    assert list(validator.iter_errors(wrong))
    wrong = json.loads(json.dumps(right))
    wrong["losses"][0]["distance"] = {"name": "l2"}
    assert list(validator.iter_errors(wrong))
    for recipe in plugins.recipes.values():
        errors = list(validator.iter_errors(yaml.safe_load(recipe.read_text())))
        assert not errors, (recipe, errors[0].message)


def test_every_recipe_loads(plugins):
    assert {"emma.yaml"} <= set(plugins.recipes)
    for name in plugins.recipes:
        if "folders" not in plugins.recipes[name].read_text():
            load_config(name, [], plugins)
