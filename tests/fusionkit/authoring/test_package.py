"""A new package loads, keeps the promises of its kind, and has a recipe that is valid."""

from __future__ import annotations

import importlib.metadata
import sys
import tomllib

import pytest

from fusionkit.authoring import NEW_KINDS, write_package
from fusionkit.benchmark.suite import load_suite
from fusionkit.config.run_config import load_config
from fusionkit.errors import FusionkitError
from fusionkit.hookspecs import API_VERSION
from fusionkit.interfaces import KINDS
from fusionkit.registry.plugins import GROUP, load_installed_plugins, load_plugins
from fusionkit.testing import check_plugin

OURS = list(importlib.metadata.entry_points(group=GROUP))


@pytest.fixture
def made(request, tmp_path, monkeypatch):
    kind = request.param
    name = f"new-{kind}"
    write_package(tmp_path, name, kind, load_installed_plugins())
    monkeypatch.syspath_prepend(str(tmp_path / name / "src"))
    declared = tomllib.loads((tmp_path / name / "pyproject.toml").read_text())["project"]
    (entry,) = declared["entry-points"]["fusionkit"].items()
    yield kind, name, load_plugins([*OURS, importlib.metadata.EntryPoint(*entry, GROUP)])
    for module in [m for m in sys.modules if m.partition(".")[0] == f"new_{kind}"]:
        del sys.modules[module]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("made", NEW_KINDS, indirect=True)
def test_a_new_package_is_right(made, tmp_path):
    kind, name, plugins = made
    assert plugins.broken == []
    assert plugins.registry.get(kind, name).plugin == name
    outcomes = [(case.check.__name__, outcome) for case, outcome in check_plugin(plugins, name)]
    assert [(check, o.sentence) for check, o in outcomes if o.state == "failed"] == []
    assert sum(o.state == "passed" for _, o in outcomes) >= 5
    config = load_config(f"{name}.yaml", [], plugins).config
    if kind == "task":
        suite = load_suite(tmp_path / name / "bench.yaml", [], plugins).config
        assert suite.tasks[name].component.name == name
    else:
        assert name in config.to_yaml().replace(f"name: {name}", "", 1)
    test = (tmp_path / name / "tests" / f"test_new_{kind}.py").read_text()
    assert f'fusionkit_plugin("{name}")' in test
    assert (
        f"FUSIONKIT_API = {API_VERSION}\n"
        in (tmp_path / name / "src" / f"new_{kind}" / "__init__.py").read_text()
    )
    for file in (tmp_path / name).rglob("*"):
        assert not file.is_file() or "${" not in file.read_text(), file


def test_all_kinds_of_the_configuration_can_be_begun():
    assert set(NEW_KINDS) == set(KINDS) - {"distance"}


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("my-fusion", "backbon", "expected one of backbone, .*did you mean 'backbone'"),
        ("My Fusion", "backbone", "lower-case letters, digits and hyphens .*found 'My Fusion'"),
        ("class", "backbone", "found 'class'"),
        ("there", "backbone", "exists already"),
    ],
)
def test_what_can_not_be_made_is_refused(tmp_path, name, kind, message):
    (tmp_path / "there").mkdir()
    with pytest.raises(FusionkitError, match=message):
        write_package(tmp_path, name, kind, load_installed_plugins())
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
