"""The public names of the package."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import inspect
import pkgutil
import subprocess
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from pydantic import BaseModel

import fusionkit as fk


def test_every_public_name_is_listed_and_there():
    assert set(fk.__all__) <= set(dir(fk))
    for name in fk.__all__:
        assert getattr(fk, name) is not None
    assert fk.__version__ == importlib.metadata.version("fusionkit-mmif")


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(fk, "defuse")


def test_training_imports_no_torchmetrics_and_other_commands_no_fabric():
    code = """
import sys
from fusionkit.registry.plugins import load_plugins
load_plugins()
assert "lightning_fabric" not in sys.modules and "torch._dynamo" not in sys.modules
import fusionkit.runs.pipeline
assert "lightning_fabric" in sys.modules and "torchmetrics" not in sys.modules
import torchmetrics
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_what_a_plugin_imports_costs_no_torch():
    code = "import sys, fusionkit; fusionkit.hookimpl; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


PUBLIC = (
    "config",
    "errors",
    "evaluation",
    "functional",
    "inference",
    "interfaces",
    "io",
    "progress",
    "registry",
    "reporting",
    "testing",
)
"""Modules that plugins import, and those behind the functions of `fusionkit` itself."""

NO_EXAMPLE = {
    "fusionkit.interfaces.component.Component": "base of the kinds; users derive from a kind",
    "fusionkit.config.run_config.LoadedConfig": "load_config makes it, and has an example",
    "fusionkit.io.flir.ThermalImage": "find_thermal_image makes it, from files of FLIR cameras",
    "fusionkit.io.image_sequence.ImageSequence": "open_frames makes it, and has an example",
    "fusionkit.io.video.VideoSource": "open_frames makes it, and has an example",
    "fusionkit.io.video_writer.VideoWriter": "write_video makes it, and has an example",
    "fusionkit.registry.model_cards.Model": "read_model makes it, and has an example",
}


def public_modules():
    yield "fusionkit.api"
    for name in PUBLIC:
        module = importlib.import_module(f"fusionkit.{name}")
        yield module.__name__
        for found in pkgutil.walk_packages(getattr(module, "__path__", []), f"{module.__name__}."):
            yield found.name


def does_something(value):
    """Whether it is a function, or a class that is more than a record, a contract or an error."""
    if inspect.isroutine(value):
        return True
    return inspect.isclass(value) and not (
        inspect.isabstract(value)
        or dataclasses.is_dataclass(value)
        or getattr(value, "_is_protocol", False)
        or issubclass(value, (BaseModel, Exception, tuple))
        or not set(vars(value)) - {"__module__", "__doc__", "__dict__", "__weakref__"}
    )


def test_every_public_function_and_class_shows_how_to_use_it():
    missing = set()
    for name in public_modules():
        module = importlib.import_module(name)
        for key in getattr(module, "__all__", ()):
            value = getattr(module, key)
            own = str(getattr(value, "__module__", "")).startswith("fusionkit")
            if own and does_something(value) and ">>>" not in (inspect.getdoc(value) or ""):
                missing.add(f"{value.__module__}.{value.__qualname__}")
    assert missing == NO_EXAMPLE.keys()


def test_the_lock_file_was_made_from_these_dependencies():
    root = Path(__file__).parents[2]
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    lock = tomllib.loads((root / "uv.lock").read_text())["package"]
    name = project["name"]
    (locked,) = [package for package in lock if package["name"] == name]
    known = {
        (entry["name"], entry.get("marker", ""), SpecifierSet(entry.get("specifier", "")))
        for entry in locked["metadata"]["requires-dist"]
    }
    declared = {"": project["dependencies"]} | {
        f"extra == '{extra}'": lines for extra, lines in project["optional-dependencies"].items()
    }
    wanted = {
        (canonicalize_name(requirement.name), marker, requirement.specifier)
        for marker, lines in declared.items()
        for requirement in map(Requirement, lines)
        if requirement.name != name  # extras that are made of others are written out in the lock
    }
    assert wanted <= known
    assert {entry[0] for entry in known} == {entry[0] for entry in wanted}
    versions = {package["name"]: package["version"] for package in lock if package["name"] != name}
    for package, _, bounds in wanted:
        assert versions[package] in bounds
