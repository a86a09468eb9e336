"""Plugins from a Python file, and plugins that the user disables."""

from __future__ import annotations

import importlib.metadata
import logging
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import fusionkit as fk
from fusionkit.errors import FusionkitError
from fusionkit.registry.plugin_cache import listing_of
from fusionkit.registry.plugin_files import DISABLE, FILES
from fusionkit.registry.plugins import GROUP, load_installed_plugins, load_plugins

MINE = '''
from fusionkit.interfaces import Backbone, Metric

class _Base(Backbone):
    """A base class."""

    def forward(self, sources):
        return next(iter(sources.values()))

class First(_Base):
    """The first source."""

    name = "first-NAME"
'''


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Return a function that writes a plugin file; its module and its path are removed again."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv(FILES, "")
    before = set(sys.modules)

    def write(name: str, code: str) -> Path:
        (tmp_path / name).write_text(code)
        return tmp_path / name

    yield write
    for module in set(sys.modules) - before:
        if str(getattr(sys.modules[module], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[module]


def test_a_file_brings_its_concrete_classes(write):
    fk.load_plugin(write("brings_one.py", MINE.replace("NAME", "one")))
    assert fk.build("backbone", name="first-one").name == "first-one"
    assert fk.build("backbone", name="average").name == "average"
    found = load_installed_plugins().found[-1]
    assert (found.name, found.error) == ("brings_one.py", None)
    assert "_Base" not in str(list(load_installed_plugins().registry))


def test_loading_a_file_twice_has_no_effect(write, monkeypatch):
    path = write("brings_two.py", MINE.replace("NAME", "two"))
    monkeypatch.chdir(path.parent)
    fk.load_plugin(path)
    fk.load_plugin("brings_two.py")
    assert [p.name for p in load_installed_plugins().found].count("brings_two.py") == 1


def test_hooks_of_a_file_are_honoured_and_a_class_counts_once(write):
    code = MINE.replace("NAME", "hooked") + (
        "\nfrom pathlib import Path\nfrom fusionkit import hookimpl\n"
        "@hookimpl\ndef fusionkit_components():\n    return [First]\n"
        "@hookimpl\ndef fusionkit_recipes():\n    return [Path(__file__).with_suffix('.yaml')]\n"
    )
    path = write("hooked.py", code)
    write("hooked.yaml", "name: hooked")
    plugins = load_plugins([], files=[path])
    assert not plugins.broken
    assert plugins.recipe("hooked.yaml") == path.with_suffix(".yaml")
    assert plugins.registry.names("backbone") == ["first-hooked"]


def test_objects_of_a_file_can_be_pickled_by_another_process(write):
    path = write("pickled.py", MINE.replace("NAME", "pickled"))
    fk.load_plugin(path)
    data = pickle.dumps(fk.build("backbone", name="first-pickled"))
    code = (
        f"import sys, pickle; sys.path = {sys.path!r}\n"
        f"print(pickle.loads({data!r}).name, 'pickled' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "first-pickled True\n", done.stderr


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("nothing.py", "x = 1", ["no component", "no hook"]),
        ("raises.py", "raise RuntimeError('no licence')", ["RuntimeError: no licence"]),
        ("not-a-module.py", MINE, ["mine.py"]),
        ("json.py", MINE, ["'json'", "rename"]),
        (
            "unfinished.py",
            "from fusionkit.interfaces import Backbone\nclass X(Backbone):\n    name = 'x'",
            ["does not implement forward"],
        ),
        (
            "nameless.py",
            "from fusionkit.interfaces import Backbone\n"
            "class X(Backbone):\n    def forward(self, sources): pass",
            ["X needs a class attribute `name"],
        ),
        (
            "taken.py",
            MINE.replace("first-NAME", "average"),
            ["backbone 'average'", "fusionkit-classic", "taken.py"],
        ),
    ],
)
def test_a_file_that_can_not_be_loaded_is_an_error(write, name, code, words):
    path = write(name, code)
    fk.load_plugin(path)
    with pytest.raises(FusionkitError) as error:
        load_installed_plugins()
    for word in [str(path), *words]:
        assert word in str(error.value)


def test_a_file_that_does_not_exist_is_an_error_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv(FILES, "")
    with pytest.raises(FusionkitError, match=r"none\.py"):
        fk.load_plugin(tmp_path / "none.py")


@pytest.mark.parametrize("name", ["plugin-gone", "plugin_gone", "Plugin-Gone"])
def test_a_disabled_plugin_is_not_imported_and_named(make_plugin, name):
    gone = make_plugin("gone", "raise AssertionError('imported')")
    plugins = load_plugins([gone], disabled=[name])
    assert not plugins.broken
    (line,) = listing_of(plugins).plugins
    assert line.complaint is not None
    assert DISABLE in line.complaint
    with pytest.raises(FusionkitError, match=f"'first'.*plugin-gone.*{DISABLE}"):
        plugins.registry.get("backbone", "first")


def test_a_package_can_be_disabled_with_all_its_plugins():
    entry_points = [
        entry
        for entry in importlib.metadata.entry_points(group=GROUP)
        if entry.name in ("fusionkit-classic", "fusionkit-scenes")
    ]
    plugins = load_plugins(entry_points, disabled=["fusionkit-mmif"])
    assert not list(plugins.registry)
    assert all(plugin.disabled for plugin in plugins.found)


def test_the_environment_disables_and_a_typo_is_told(monkeypatch, caplog):
    monkeypatch.setenv(DISABLE, "fusionkit-scenes, fusionkit-scened")
    logger = logging.getLogger("fusionkit")
    monkeypatch.setattr(logger, "propagate", True)
    with caplog.at_level(logging.WARNING, "fusionkit"):
        plugins = load_installed_plugins()
    assert "scenes" not in plugins.registry.names("dataset")
    assert "'fusionkit-scened'" in caplog.text
    monkeypatch.delenv(DISABLE)
    assert "scenes" in load_installed_plugins().registry.names("dataset")
