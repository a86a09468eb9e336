"""Writes a complete plugin package: metadata, one component that works, a recipe and tests."""

from __future__ import annotations

import keyword
import re
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from fusionkit.errors import FusionkitError, nearest
from fusionkit.hookspecs import API_VERSION
from fusionkit.io.atomic_write import make_folder, write_text
from fusionkit.io.yaml_document import read_yaml
from fusionkit.io.yaml_loading import dump_yaml
from fusionkit.registry.plugins import Plugins

__all__ = ["NEW_KINDS", "STARTER_RECIPE", "write_package"]

STARTER_RECIPE = "quick.yaml"
"""Name of the installed recipe that the recipe of a new package starts from."""

_USES = {
    "backbone": "`backbone: {name: $name}` in any recipe trains it with the losses of that recipe.",
    "sensor": "`sensors: {infrared: {name: $name}, ...}` in any recipe makes it a pseudo-sensor.",
    "transform": "`transforms: [{name: $name, count: 3}]` in any recipe asks for equivariance.",
    "loss": "`losses: [..., {name: $name, weight: 0.5}]` in any recipe adds it to the objective.",
    "metric": "`fusionkit metrics --metric $name ...` scores images with it.",
    "dataset": "`data: {name: $name}` in any recipe trains on it.",
    "stage": "`stages: [..., {name: $name}]` in any recipe runs it.",
    "task": "`fusionkit bench $name/bench.yaml` compares fusion methods with it.",
}

NEW_KINDS = tuple(_USES)
"""The kinds of component that a new package can start with."""


def write_package(folder: Path, name: str, kind: str, plugins: Plugins) -> list[Path]:
    """Write a package ``NAME`` with one component of the same name.

    Args:
        folder: Folder in which the folder of the package is created.
        name: Name of package, plugin and component: lower-case letters, digits and hyphens.
        kind: One of :data:`NEW_KINDS`.
        plugins: The installed plugins; one of them ships :data:`STARTER_RECIPE`.

    Returns:
        The files written.

    Raises:
        FusionkitError: for an unknown kind, a name that Python can't import, a folder that exists,
            or if no plugin ships the starter recipe.
    """
    if kind not in NEW_KINDS:
        raise FusionkitError(
            f"--kind: expected one of {', '.join(NEW_KINDS)}, found {kind!r}"
            + nearest(kind, NEW_KINDS)
        )
    package = name.replace("-", "_")
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or keyword.iskeyword(package):
        raise FusionkitError(
            f"expected a name of lower-case letters, digits and hyphens (my-fusion), found {name!r}"
        )
    root = folder / name
    if root.exists():
        raise FusionkitError(f"{root} exists already; choose another name or remove it")
    recipe = _recipe(name, kind, plugins)
    values = {
        "name": name,
        "package": package,
        "kind": kind,
        "Class": "".join(part.capitalize() for part in name.split("-")),
        "api": str(API_VERSION),
    }
    values["use"] = Template(_USES[kind]).substitute(values)
    source = root / "src" / package
    templates = {
        root / "pyproject.toml": "pyproject.toml",
        root / "README.md": "README.md",
        source / "__init__.py": "init.py",
        source / f"{kind}.py": f"{kind}.py",
        root / "tests" / f"test_{package}.py": "test.py",
    }
    if kind == "task":
        templates[root / "bench.yaml"] = "bench.yaml"
    texts = {
        path: Template(_template(template)).substitute(values)
        for path, template in templates.items()
    }
    texts[source / "recipes" / f"{name}.yaml"] = recipe
    for path, text in texts.items():
        make_folder(path.parent)
        write_text(path, text)
    return list(texts)


def _recipe(name: str, kind: str, plugins: Plugins) -> str:
    """Return the starter recipe with the new component in it, as YAML."""
    recipe: dict[str, Any] = read_yaml(plugins.recipe(STARTER_RECIPE)).values
    recipe["name"] = name
    own = {"name": name}
    if kind == "backbone":
        recipe["backbone"] = own
    elif kind == "dataset":
        recipe["data"] = own
    elif kind == "sensor":
        recipe["sensors"] = {modality: dict(own) for modality in recipe["sensors"]}
    elif kind == "transform":
        recipe["transforms"][0] = {**own, "count": 2}
    elif kind == "loss":
        recipe["losses"].append({**own, "weight": 0.5})
    elif kind == "stage":
        recipe["stages"].insert(-1, own)
    elif kind == "metric":
        for stage in recipe["stages"]:
            if "metrics" in stage:
                stage["metrics"].append(name)
    text = dump_yaml(recipe, default_flow_style=None, width=100)
    return f"# {STARTER_RECIPE} with the {kind} {name}: seconds on a CPU.\n{text}"


def _template(name: str) -> str:
    # They end in .txt, so that no tool takes a template for our own code.
    path = files("fusionkit.authoring").joinpath("templates").joinpath(f"{name}.txt")
    return path.read_text(encoding="utf-8")
