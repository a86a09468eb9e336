"""Command-line overrides of a YAML document: ``key=value``."""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from typing import Any

import yaml

from fusionkit.errors import FusionkitError, nearest
from fusionkit.io.yaml_document import Document, Location, key_path
from fusionkit.io.yaml_loading import load_yaml

__all__ = ["apply_overrides"]

_KEY = re.compile(r'"[^"]+"|[^".=]+')
_ASSIGNMENT = re.compile(
    rf"(?P<path>(?:{_KEY.pattern})(?:\.(?:{_KEY.pattern}))*)=(?P<value>.*)", re.S
)


def apply_overrides(
    document: Document, assignments: Sequence[str], components: Container[str] | None = None
) -> None:
    """Apply ``a.b.c=value`` to a document; later assignments win.

    The value is YAML. A list item is addressed by its index or by its ``name``. A key that contains
    a dot or an equals sign is written in double quotes: ``a."b 1.0".c=value``.

    Overriding the ``name`` of a component removes its other arguments, which belonged to the
    component of the old name. Such overrides are applied first, so that arguments for the new
    component can stand anywhere among the assignments. A text for a section overrides
    its ``name``: ``backbone=average``.

    Args:
        document: The document to change.
        assignments: ``key=value`` each.
        components: Names of all components. A section with another name is a group of arguments,
            which keeps its other keys. If left out, each section with a name is a component.

    Raises:
        FusionkitError: if one is no assignment, or its path leads nowhere.

    Example:
        >>> from pathlib import Path
        >>> document = Document(Path("a.yaml"), {"data": {"name": "scenes", "size": 128}}, {})
        >>> apply_overrides(document, ["data.size=64", "seed=1"])
        >>> document.values
        {'data': {'name': 'scenes', 'size': 64}, 'seed': 1}
        >>> document.where(("seed",))
        "command line, 'seed=1'"
    """
    overridden: set[Location] = set()
    for assignment in sorted(assignments, key=lambda text: not _sets_a_name(text)):
        _apply(document, assignment, overridden, components)


def _sets_a_name(assignment: str) -> bool:
    return re.match(r"^[^=]+\.name=", assignment) is not None


def _apply(
    document: Document,
    assignment: str,
    overridden: set[Location],
    components: Container[str] | None,
) -> None:
    keys, value = _parse(assignment)
    origin = f"command line, {assignment!r}"
    target: Any = document.values
    location: Location = ()
    for key in keys[:-1]:
        location = (*location, _step(target, location, key, assignment))
        if isinstance(target, dict) and target.get(location[-1]) is None:
            document.set(location, {}, origin)  # a section that the file leaves out or empty
        target = target[location[-1]]
    last = _step(target, location, keys[-1], assignment)
    section = target.get(last) if isinstance(target, dict) else target[last]
    if isinstance(value, str) and isinstance(section, dict):
        target, location, last = section, (*location, last), "name"
    is_component = components is None or str(value) in components
    is_renamed = last == "name" and location and target.get("name") != value
    if is_renamed and is_component:
        kept = {key: v for key, v in target.items() if (*location, key) in overridden}
        target.clear()
        target.update(kept)
    document.set((*location, last), value, origin)
    overridden.add((*location, last))


def _parse(assignment: str) -> tuple[list[str], Any]:
    """Return the keys of the path, and the value."""
    match = _ASSIGNMENT.fullmatch(assignment)
    if match is None:
        raise FusionkitError(
            f"expected an override as key=value (data.size=64; put a key that contains a dot in "
            f"double quotes), found {assignment!r}"
        )
    keys = [key.strip().strip('"') for key in _KEY.findall(match["path"])]
    try:
        return keys, load_yaml(match["value"])
    except yaml.YAMLError as error:
        raise FusionkitError(
            f"the override {assignment!r} has a value that is no YAML: "
            + " ".join(str(error).split())
        ) from None


def _step(target: Any, location: Location, key: str, assignment: str) -> str | int:
    """Return the key or the index that one part of the path stands for."""
    if isinstance(target, dict):
        return key
    if not isinstance(target, list):
        raise FusionkitError(
            f"the override {assignment!r}: {key_path(location)} is {target!r}, "
            f"which has no key {key!r}"
        )
    if key.isdigit() and int(key) < len(target):
        return int(key)
    names = [item.get("name") if isinstance(item, dict) else None for item in target]
    if names.count(key) == 1:
        return names.index(key)
    known = [str(name) for name in names if name]
    problem = "occurs more than once, use its index" if key in names else "does not exist"
    raise FusionkitError(
        f"the override {assignment!r}: in {key_path(location)}, {key!r} {problem} "
        f"(items: 0 to {len(target) - 1}, names: {', '.join(known) or 'none'})"
        + nearest(key, known)
    )
