"""YAML that remembers where each key stands, and command-line overrides of it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from fusionkit.errors import FusionkitError, nearest

__all__ = ["Document", "key_path", "read_yaml"]

Location = tuple[str | int, ...]

_KEY = re.compile(r'"[^"]+"|[^".=]+')
_ASSIGNMENT = re.compile(
    rf"(?P<path>(?:{_KEY.pattern})(?:\.(?:{_KEY.pattern}))*)=(?P<value>.*)", re.S
)


def key_path(location: Iterable[str | int]) -> str:
    """Join a location as it would be written: ``losses[0].distance.name``.

    >>> key_path(("losses", 0, "distance"))
    'losses[0].distance'
    """
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path


class Document:
    """The values of a YAML file, and the line that each came from.

    Attributes:
        values: Plain dictionaries, lists and scalars.
        path: The file.
    """

    def __init__(self, path: Path, values: dict[str, Any], lines: dict[Location, str]):
        self.path = path
        self.values = values
        self._lines = lines
        self._overridden: set[Location] = set()

    def where(self, location: Iterable[str | int]) -> str:
        """Return ``file:line`` of a key, or of the nearest key above it that is written down."""
        parts = tuple(location)
        while parts not in self._lines and parts:
            parts = parts[:-1]
        return self._lines.get(parts, f"{self.path}:1")

    def expanded(self) -> dict[str, Any]:
        """Return the values with each ``${VARIABLE}`` replaced by the environment's.

        Raises:
            FusionkitError: for a variable that is not set; says where it stands.
        """
        return self._expanded(self.values, ())

    def _expanded(self, value: Any, location: Location) -> Any:
        if isinstance(value, dict):
            return {key: self._expanded(item, (*location, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self._expanded(item, (*location, k)) for k, item in enumerate(value)]
        if not isinstance(value, str):
            return value

        def replace(match: re.Match[str]) -> str:
            found = os.environ.get(match[1])
            if found is None:
                raise FusionkitError(
                    f"{self.where(location)}: {key_path(location)}: the environment variable "
                    f"{match[1]} is not set; export {match[1]}=FOLDER (docs/datasets.md says what "
                    f"belongs there)"
                )
            return found

        return re.sub(r"\$\{(\w+)\}", replace, value)

    def override(self, assignment: str) -> None:
        """Apply ``a.b.c=value``: list items by index or by their ``name``; the value is YAML.

        A key that holds a dot or an equals sign is put in double quotes: ``a."b 1.0".c=value``.

        Overriding the ``name`` of a component drops its other arguments, which belonged to the
        component of the old name.

        Raises:
            FusionkitError: if it is no assignment, or its path leads nowhere.
        """
        match = _ASSIGNMENT.fullmatch(assignment)
        if match is None:
            raise FusionkitError(
                f'expected an override as key=value (data.size=64; a key is "quoted" if it holds '
                f"a dot), found {assignment!r}"
            )
        keys = [key.strip().strip('"') for key in _KEY.findall(match["path"])]
        try:
            value = yaml.load(match["value"], Loader=_Loader)
        except yaml.YAMLError as error:
            raise FusionkitError(
                f"the override {assignment!r} has a value that is no YAML: "
                + " ".join(str(error).split())
            ) from None
        target: Any = self.values
        location: Location = ()
        for key in keys[:-1]:
            part = self._step(target, location, key, assignment)
            location = (*location, part)
            if isinstance(target, dict):
                # A section that the file does not have, or has empty, starts here.
                if target.get(part) is None:
                    target[part] = {}
                target = target[part]
            else:
                target = target[part]
        last = self._step(target, location, keys[-1], assignment)
        if isinstance(target, dict):
            previous = target.get("name")
            if last == "name" and location and previous != value:
                kept = {k: v for k, v in target.items() if (*location, k) in self._overridden}
                target.clear()
                target.update(kept)
        target[last] = value
        self._overridden.add((*location, last))
        for known in [k for k in self._lines if k[: len(location) + 1] == (*location, last)]:
            del self._lines[known]
        self._lines[(*location, last)] = f"command line, {assignment!r}"

    def _step(self, target: Any, location: Location, key: str, assignment: str) -> str | int:
        """Return the key or index that one part of an override's path means."""
        if isinstance(target, dict):
            return key
        if isinstance(target, list):
            names = [item.get("name") for item in target if isinstance(item, dict)]
            if key.isdigit() and int(key) < len(target):
                return int(key)
            if names.count(key) == 1:
                return next(
                    index
                    for index, item in enumerate(target)
                    if isinstance(item, dict) and item.get("name") == key
                )
            known = [str(name) for name in names if name]
            problem = "is there more than once, use its index" if key in names else "is not there"
            raise FusionkitError(
                f"the override {assignment!r}: in {key_path(location)}, {key!r} {problem} "
                f"(items: 0 to {len(target) - 1}, names: {', '.join(known) or 'none'})"
                + nearest(key, known)
            )
        raise FusionkitError(
            f"the override {assignment!r}: {key_path(location)} is {target!r}, "
            f"which has no key {key!r}"
        )


class _Loader(yaml.SafeLoader):
    """YAML with the numbers of YAML 1.2: ``1e-4`` is a number, ``12:30`` and ``yes`` are text."""


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag not in ("tag:yaml.org,2002:float", "tag:yaml.org,2002:int", "tag:yaml.org,2002:bool")
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9]+$"), list("-+0123456789")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$|^[-+]?\.(?:inf|nan)$"),
    list("-+.0123456789"),
)


def read_yaml(path: Path) -> Document:
    """Read a YAML file whose top level is a mapping.

    Raises:
        FusionkitError: with file and line, if it can't be read, is no YAML, or has a key twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FusionkitError(f"{path} can't be read: {error}") from None
    loader = _Loader(text)
    loader.name = str(path)
    try:
        root = loader.get_single_node()
        lines: dict[Location, str] = {}
        values = _construct(loader, root, (), lines, path) if root is not None else {}
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise FusionkitError(f"{path}:{line}: no valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise FusionkitError(f"{path}:1: no valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise FusionkitError(f"{path}:1: expected keys and values, found {type(values).__name__}")
    return Document(path, values, lines)


def _construct(
    loader: _Loader, node: yaml.Node, location: Location, lines: dict[Location, str], path: Path
) -> Any:
    lines.setdefault(location, f"{path}:{node.start_mark.line + 1}")
    if isinstance(node, yaml.MappingNode):
        written: set[str] = set()
        for key_node, _ in node.value:
            if key_node.value in written:
                raise FusionkitError(
                    f"{path}:{key_node.start_mark.line + 1}: the key "
                    f"{key_path((*location, key_node.value))} is there twice"
                )
            written.add(key_node.value)
        loader.flatten_mapping(node)  # what `<<` merges in comes first, so that own keys win
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(loader.construct_object(key_node, deep=True))
            lines[(*location, key)] = f"{path}:{key_node.start_mark.line + 1}"
            values[key] = _construct(loader, value_node, (*location, key), lines, path)
        return values
    if isinstance(node, yaml.SequenceNode):
        return [
            _construct(loader, item, (*location, index), lines, path)
            for index, item in enumerate(node.value)
        ]
    return loader.construct_object(node, deep=True)
