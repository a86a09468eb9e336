"""YAML files whose values remember the line that they were written in."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from fusionkit.errors import FusionkitError
from fusionkit.io.yaml_loading import Yaml12Loader, compose_yaml

__all__ = ["Document", "Location", "key_path", "read_yaml"]

Location = tuple[str | int, ...]

_ALLOWED = "FUSIONKIT_ALLOW_VARIABLES"


def _is_allowed(variable: str) -> bool:
    allowed = {name.strip() for name in os.environ.get(_ALLOWED, "").split(",")}
    return variable.startswith("FUSIONKIT_") or variable in allowed


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

    Example:
        >>> document = Document(Path("a.yaml"), {"seed": 1}, {("seed",): "a.yaml:1"})
        >>> document.set(("seed",), 2, "the command line")
        >>> document.values, document.where(("seed",))
        ({'seed': 2}, 'the command line')
    """

    def __init__(self, path: Path, values: dict[str, Any], lines: dict[Location, str]):
        self.path = path
        self.values = values
        self._lines = lines

    def where(self, location: Iterable[str | int]) -> str:
        """Return ``file:line`` of a key, or of the nearest key above it that is written down."""
        parts = tuple(location)
        while parts not in self._lines and parts:
            parts = parts[:-1]
        return self._lines.get(parts, f"{self.path}:1")

    def error(self, location: Iterable[str | int], problem: Exception | str) -> FusionkitError:
        """Return an error that names the place of a key: ``file:line: path.of.key: problem``."""
        location = tuple(location)
        path = key_path(location)
        return FusionkitError(f"{self.where(location)}: {path + ': ' if path else ''}{problem}")

    def expanded(self) -> dict[str, Any]:
        """Return the values with each ``${VARIABLE}`` replaced by the environment's.

        Only variables that begin with ``FUSIONKIT_`` are replaced, and those that the variable
        FUSIONKIT_ALLOW_VARIABLES lists, separated by commas. The others may hold secrets, which a
        recipe of a stranger must not copy into a report. Keys called ``name`` hold none.

        Raises:
            FusionkitError: for a variable that is not set or not allowed; says where it stands.
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
            if location[-1:] == ("name",):
                raise self.error(location, f"a name can't hold ${{{match[1]}}}; write it out")
            if not _is_allowed(match[1]):
                raise self.error(
                    location,
                    f"the environment variable {match[1]} may hold a secret, so a file can't read "
                    f"it; if it may, export {_ALLOWED}={match[1]}",
                )
            found = os.environ.get(match[1])
            if found is None:
                raise self.error(
                    location,
                    f"the environment variable {match[1]} is not set; export {match[1]}=FOLDER "
                    f"(docs/datasets.md says what belongs there)",
                )
            return found

        return re.sub(r"\$\{(\w+)\}", replace, value)

    def set(self, location: Location, value: Any, origin: str) -> None:
        """Replace a value that exists, or add a key to a mapping.

        Args:
            location: Where; everything above it exists.
            value: Plain dictionaries, lists and scalars.
            origin: What ``where`` says about the key from now on.
        """
        target: Any = self.values
        for part in location[:-1]:
            target = target[part]
        target[location[-1]] = value
        self._lines = {k: v for k, v in self._lines.items() if k[: len(location)] != location}
        self._lines[location] = origin


def read_yaml(path: Path) -> Document:
    """Read a YAML file whose top level is a mapping.

    Raises:
        FusionkitError: with file and line, if it can't be read, is no YAML, or has a key twice.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.yaml"
        ...     _ = path.write_text("stages: [{name: fuse}]")
        ...     document = read_yaml(path)
        >>> document.values, document.where(("stages", 0, "name")).rpartition(":")[2]
        ({'stages': [{'name': 'fuse'}]}, '1')
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FusionkitError(f"{path} can't be read: {error}") from None
    try:
        loader, root = compose_yaml(text, str(path))
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
    loader: Yaml12Loader,
    node: yaml.Node,
    location: Location,
    lines: dict[Location, str],
    path: Path,
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
            key = key_node.value  # 08 is a name here, not 8
            lines[(*location, key)] = f"{path}:{key_node.start_mark.line + 1}"
            values[key] = _construct(loader, value_node, (*location, key), lines, path)
        return values
    if isinstance(node, yaml.SequenceNode):
        return [
            _construct(loader, item, (*location, index), lines, path)
            for index, item in enumerate(node.value)
        ]
    return loader.construct_object(node, deep=True)
