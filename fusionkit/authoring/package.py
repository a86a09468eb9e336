"""A complete plugin package: metadata, one component that works, its tests, a recipe."""

from __future__ import annotations

import keyword
import re
from importlib.resources import files
from pathlib import Path
from string import Template

from fusionkit.errors import FusionkitError, nearest
from fusionkit.hookspecs import API_VERSION
from fusionkit.io.atomic_write import make_folder, write_text

__all__ = ["NEW_KINDS", "write_package"]

_RECIPE = {
    "data": "{name: scenes, size: 64, train: 32, val: 4}",
    "sensor": "{name: unet, width: 8}",
    "backbone": "{name: ufuser, channels: [8, 8, 16, 16], init: average}",
    "transforms": "[{name: shift, count: 1}, {name: rotate, count: 1}, {name: reflect, count: 1}]",
    "more_losses": "",
    "more_stages": "",
    "metrics": "[EN, SD, SF, AG, SCD, VIF]",
}
"""The small recipe that every new package has, but for what its component takes the place of."""

_CHANGES = {
    "backbone": {"backbone": "{name: $name}"},
    "sensor": {"sensor": "{name: $name}"},
    "transform": {"transforms": "[{name: $name, count: 2}, {name: rotate, count: 1}]"},
    "loss": {"more_losses": "\n  - {name: $name, weight: 0.5}"},
    "metric": {"metrics": "[EN, SD, SF, AG, SCD, VIF, $name]"},
    "dataset": {"data": "{name: $name}"},
    "stage": {"more_stages": "\n  - {name: $name}"},
    "task": {},
}

NEW_KINDS = tuple(_CHANGES)
"""The kinds that a new package can be of."""

_USES = {
    "backbone": "`backbone: {name: $name}` in any recipe trains it under that recipe's objective.",
    "sensor": "`sensors: {infrared: {name: $name}, ...}` in any recipe makes it a pseudo-sensor.",
    "transform": "`transforms: [{name: $name, count: 3}]` in any recipe asks for equivariance.",
    "loss": "`losses: [..., {name: $name, weight: 0.5}]` in any recipe adds it to the objective.",
    "metric": "`fusionkit metrics --metric $name ...` scores images by it.",
    "dataset": "`data: {name: $name}` in any recipe trains on it.",
    "stage": "`stages: [..., {name: $name}]` in any recipe runs it.",
    "task": "`fusionkit bench $name/bench.yaml` compares fusion methods by it.",
}


def write_package(folder: Path, name: str, kind: str) -> list[Path]:
    """Write a package ``NAME`` with one component of a kind, which has the same name.

    Args:
        folder: Where the package's folder is made.
        name: Of package, plugin and component: small letters, digits and hyphens.
        kind: One of :data:`NEW_KINDS`.

    Returns:
        The files written.

    Raises:
        FusionkitError: for another kind, a name that Python can't import, or a folder that exists.
    """
    if kind not in NEW_KINDS:
        raise FusionkitError(
            f"--kind: expected one of {', '.join(NEW_KINDS)}, found {kind!r}"
            + nearest(kind, NEW_KINDS)
        )
    package = name.replace("-", "_")
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or keyword.iskeyword(package):
        raise FusionkitError(
            f"expected a name of small letters, digits and hyphens (my-fusion), found {name!r}"
        )
    root = folder / name
    if root.exists():
        raise FusionkitError(f"{root} exists already; choose another name or remove it")
    values = {
        "name": name,
        "package": package,
        "kind": kind,
        "Class": "".join(part.capitalize() for part in name.split("-")),
        "api": str(API_VERSION),
    }
    recipe = {**_RECIPE, **_CHANGES[kind]}
    values |= {key: Template(text).substitute(values) for key, text in recipe.items()}
    values["use"] = Template(_USES[kind]).substitute(values)
    source = root / "src" / package
    written = {
        root / "pyproject.toml": "pyproject.toml",
        root / "README.md": "README.md",
        source / "__init__.py": "init.py",
        source / f"{kind}.py": f"{kind}.py",
        source / "recipes" / f"{name}.yaml": "recipe.yaml",
        root / "tests" / f"test_{package}.py": "test.py",
    }
    if kind == "task":
        written[root / "bench.yaml"] = "bench.yaml"
    for path, template in written.items():
        make_folder(path.parent)
        write_text(path, Template(_template(template)).substitute(values))
    return list(written)


def _template(name: str) -> str:
    # As .txt, so that no tool takes a template for code of ours.
    path = files("fusionkit.authoring").joinpath("templates").joinpath(f"{name}.txt")
    return path.read_text(encoding="utf-8")
