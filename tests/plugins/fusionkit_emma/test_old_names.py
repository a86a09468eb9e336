"""Names of arguments from before the first release still work, with a warning each."""

from __future__ import annotations

import pytest
import yaml

import fusionkit as fk
from fusionkit.config.run_config import load_config
from fusionkit.registry.arguments import arguments_model
from fusionkit.registry.plugins import load_plugins
from fusionkit.registry.renamed_arguments import warn_renamed
from fusionkit_emma.losses import Equivariance, _warn_no_identity
from fusionkit_emma.train_backbone import TrainBackbone
from fusionkit_emma.train_sensors import TrainSensors
from fusionkit_emma.ufuser import UFuser

OLD = """\
name: emma
seed: 0
modalities: [infrared, visible]
data: {name: scenes, size: 128, train: 400, val: 40}
teacher: [{name: saliency}, {name: laplacian-pyramid}]
sensors:
  infrared: {name: unet, width: 16}
  visible: {name: unet, width: 16}
backbone: {name: ufuser, start: average}
transforms: [{name: shift, count: 3}, {name: rotate, count: 3}, {name: reflect, count: 3}]
losses:
  - {name: sensing, weight: 1.0, distance: {name: l1-sobel}, noise: 0.03}
  - {name: equivariance, weight: 0.1, distance: {name: l1-sobel}, elements: 1, noise: 0.03}
stages:
  - {name: train-sensors, epochs: 2, batch_size: 16, crop: 48, lr: 2.0e-3, schedule: cosine,
     warmup_steps: 10, augment: true, blend: true, noise: 0.06}
  - {name: train-backbone, warm_start: 2, epochs: 1, batch_size: 4, crop: 32, lr: 3.0e-4,
     warm_lr: 1.5e-3, schedule: cosine, warmup_steps: 20, augment: true, blend: true, clip: 1.0,
     anchor: 1.0}
  - {name: fuse}
  - {name: evaluate, metrics: [EN, SD, SF, AG, SCD, VIF]}
  - {name: report}
"""
"""emma.yaml as it was."""


@pytest.fixture(scope="module")
def plugins():
    return load_plugins()


@pytest.fixture(autouse=True)
def _warn_again():
    warn_renamed.cache_clear()
    _warn_no_identity.cache_clear()


def test_the_old_recipe_is_the_new_one(plugins, tmp_path, caplog):
    (tmp_path / "emma.yaml").write_text(OLD)
    old = load_config(tmp_path / "emma.yaml", [], plugins).config.to_dict()
    warned = [record.args for record in caplog.records if record.funcName == "warn_renamed"]
    assert len(warned) == len(set(warned)) == 10
    assert ("stage", "train-backbone", "warm_start", "distill.epochs") in warned
    assert ("backbone", "ufuser", "start", "init") in warned
    caplog.clear()
    new = load_config("emma.yaml", [], plugins).config.to_dict()
    assert not caplog.records
    assert new["losses"][1].pop("identity") is False
    assert old["losses"][1].pop("identity") is None
    assert old == new


def test_old_names_on_the_command_line_win_over_the_recipe(plugins):
    stage = "stages.train-backbone."
    old = [
        *("optimizer=sgd", "lr=0.5", "schedule=step", "decay_epochs=3", "decay_rate=0.25"),
        *("warmup_steps=4", "warm_start=5", "warm_lr=0.125", "anchor=6", "anchor_end=7"),
        *("ema=0.75", "keep=average"),
    ]
    config = load_config("emma.yaml", [stage + o for o in old], plugins).config.to_dict()
    found = config["stages"][1]
    assert found["optimizer"] == {"name": "sgd", "lr": 0.5}
    assert found["schedule"] == {"name": "step", "every": 3, "factor": 0.25, "warmup_steps": 4}
    assert found["distill"] == {"epochs": 5, "lr": 0.125, "weight": 6.0, "weight_end": 7.0}
    assert found["average"] == {"decay": 0.75, "keep": True}
    assert found["crop"] == 32


@pytest.mark.parametrize(
    ("override", "group", "expected"),
    [
        ("optimizer=adamw", "optimizer", {"name": "adamw", "lr": 3e-4}),
        ("optimizer.name=adamw", "optimizer", {"name": "adamw", "lr": 3e-4}),
        ("optimizer.lr=1e-3", "optimizer", {"name": "adam", "lr": 1e-3}),
        ("distill.epochs=7", "distill", {"epochs": 7, "lr": 1.5e-3, "weight": 1, "weight_end": 0}),
    ],
)
def test_an_override_keeps_the_rest_of_its_group(plugins, override, group, expected):
    overrides = [f"stages.train-backbone.{override}"]
    config = load_config("emma.yaml", overrides, plugins).config.to_dict()
    assert config["stages"][1][group] == expected


def test_a_configuration_with_groups_is_written_and_read_again(plugins, tmp_path):
    config = load_config("emma-plus.yaml", ["data={name: scenes}", "test=null"], plugins).config
    (tmp_path / "again.yaml").write_text(config.to_yaml())
    assert load_config(tmp_path / "again.yaml", [], plugins).config.to_dict() == config.to_dict()
    stage = yaml.safe_load(config.to_yaml())["stages"][2]
    assert stage["average"] == {"decay": 0.998, "keep": True}


def test_every_new_name_exists():
    for cls in (TrainSensors, TrainBackbone, UFuser):
        fields = arguments_model(cls).model_fields
        for new in cls.renamed_arguments.values():
            name, _, key = new.partition(".")
            assert name in fields
            assert not key or key in type(fields[name].default).model_fields


def test_python_takes_old_names_too(caplog):
    stage = fk.build("stage", name="train-backbone", warm_start=3, ema=0.5)
    assert (stage.distill.epochs, stage.average.decay) == (3, 0.5)
    assert len(caplog.records) == 2


@pytest.mark.parametrize("name", ["emma-ir-vis", "emma-medical"])
def test_weights_with_old_names_load_without_a_warning(name, caplog):
    assert fk.load(name).spec.arguments["init"].endswith("average")
    assert not caplog.records


def test_elements_alone_still_leave_the_identity_out(caplog):
    assert Equivariance(elements=1).identity is False
    assert Equivariance(elements=1).identity is False
    assert len(caplog.records) == 1
    assert "identity: false" in caplog.text
    caplog.clear()
    assert Equivariance().identity is True
    assert Equivariance(elements=1, identity=True).identity is True
    assert Equivariance(identity=False).identity is False
    assert not caplog.records
