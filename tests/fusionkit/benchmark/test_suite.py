"""Suites: what may be written, and what is refused where."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import numpy as np
import pytest
import yaml

from fusionkit.benchmark.suite import load_suite, suite_schema
from fusionkit.errors import FusionkitError
from fusionkit.io.images import write_image
from fusionkit.registry.plugins import load_installed_plugins

COMMITTED = sorted((Path(__file__).parents[3] / "benchmarks").glob("*.yaml"))

SUITE = """\
name: small
size: quick
reference: average
data:
  scenes: {name: scenes, size: 64, train: 4, val: 3}
methods:
  infrared only: {source: infrared}
  average: {backbone: {name: average}}
  extra: {backbone: {name: max}}
tasks:
  fusion: {name: fusion-metrics, metrics: [EN, SD]}
sizes:
  quick: ["data.scenes.val=2", methods.extra=null]
  full: []
"""


@pytest.fixture
def write(tmp_path):
    def write(text=SUITE, *changes):
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "suite.yaml"
        path.write_text(text)
        return path

    return write


def load(path, *overrides):
    return load_suite(path, overrides, load_installed_plugins()).config


def test_sizes_are_overrides_by_name(write):
    quick = load(write())
    assert quick.data["scenes"].component.arguments["val"] == 2
    assert set(quick.methods) == {"infrared only", "average"}
    full = load(write(), "size=full")
    assert full.data["scenes"].component.arguments["val"] == 3
    assert "extra" in full.methods
    assert load(write(), "data.scenes.val=1").data["scenes"].component.arguments["val"] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("size: quick", "size: qiuck"), "there is no size 'qiuck'.*did you mean 'quick'"),
        (("source: infrared", "source: infared"), "found 'infared'.*did you mean 'infrared'"),
        (("reference: average", "reference: avg"), "reference: there is no method 'avg'"),
        (("{source: infrared}", "{}"), r"exactly one of source, .*found none"),
        (
            ("{source: infrared}", "{source: infrared, weights: a}"),
            "exactly one of source.*found source, weights",
        ),
        (("metrics: [EN, SD]", "metric: [EN]"), r"suite\.yaml:11: .*no argument 'metric'"),
        (("name: fusion-metrics", "name: fusion-metric"), "'fusion-metric' is installed"),
        (("size: 64, train", "size: 64, tarin"), r"suite\.yaml:5: data.scenes.tarin: .*'train'"),
        (("metrics: [EN, SD]", "data: [tno]"), "tasks.fusion.data: there is no data set 'tno'"),
        (
            ("name: scenes,", "name: paired-folders, root: '${FUSIONKIT_NO_SUCH_VARIABLE}',"),
            "FUSIONKIT_NO_SUCH_VAR",
        ),
    ],
)
def test_mistakes_are_named(write, change, message):
    with pytest.raises(FusionkitError, match=message):
        load(write(SUITE, change))


def test_environment_variables_are_filled_in(write, monkeypatch):
    monkeypatch.setenv("FUSIONKIT_SOME_DATA", "/somewhere")
    text = SUITE.replace(
        "name: scenes, size: 64, train: 4, val: 3",
        "name: paired-folders, root: '${FUSIONKIT_SOME_DATA}/tno'",
    )
    config = load(write(text), "size=full")
    assert str(config.data["scenes"].component.arguments["root"]) == "/somewhere/tno"


@pytest.mark.parametrize("suite", COMMITTED, ids=lambda path: path.stem)
def test_the_schema_takes_the_committed_suites_and_finds_mistakes(suite):
    schema = suite_schema(load_installed_plugins().registry)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    values = yaml.safe_load(suite.read_text())
    assert [error.message for error in validator.iter_errors(values)] == []
    task = next(iter(values["tasks"].values()))
    for key, value in (("epoch", 1), ("name", "no-such-task"), ("data", 3)):
        spoiled = values | {"tasks": {"t": task | {key: value}}}
        assert not validator.is_valid(spoiled), key
    assert not validator.is_valid(values | {"sizes": {"quick": "data=1"}})


@pytest.mark.parametrize(
    ("suite", "size"),
    [
        pytest.param(path, size, id=f"{path.stem}-{size}")
        for path in COMMITTED
        for size in yaml.safe_load(path.read_text()).get("sizes", [None])
    ],
)
def test_committed_suites_load_at_every_size(suite, size, monkeypatch):
    monkeypatch.setenv("FUSIONKIT_DATA", "/data")
    config = load(suite, *([f"size={size}"] if size else []))
    single = {term.source for term in config.methods.values() if term.source}
    assert single == set(config.modalities)
    assert config.reference in config.methods
    assert config.tasks
    if size == "quick":
        # runs from a clean clone: nothing but what is embedded
        assert [term.component.name for term in config.data.values()] == ["scenes"]


def test_folds_lie_where_the_suite_says_that_they_are_put(tmp_path, monkeypatch):
    suite = next(path for path in COMMITTED if path.stem == "medical")
    (tmp_path / "runs" / "folds").mkdir(parents=True)
    write_image(tmp_path / "runs" / "folds" / "ct-11.png", np.zeros((16, 16), np.uint8))
    assert "cp runs/fold?/grey/ufuser/*.png runs/folds" in suite.read_text()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FUSIONKIT_DATA", str(tmp_path))
    plugins = load_installed_plugins()
    folds = load_suite(suite, [], plugins).config.methods["EMMA (4 folds)"].backbone
    assert plugins.registry.build(folds).name == "folder"
