"""Describes the arguments of a component as a person would write them."""

from __future__ import annotations

import inspect
import re
import textwrap
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union

import annotated_types
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from fusionkit.interfaces import Component, ComponentSpec, FromRun
from fusionkit.io.yaml_loading import dump_yaml
from fusionkit.registry.signatures import from_run, hints_of, parameters_of

__all__ = ["Argument", "arguments_of", "description_of", "example_of", "type_text"]


@dataclass(frozen=True)
class Argument:
    """An argument of a component, described for people.

    Attributes:
        name: Its name; ``group.key`` for a key of a group.
        type: Its type, such as ``float > 0``.
        default: Its default as YAML, ``required``, or ``from the run``.
        doc: Its description in the docstring of the class, in one line; may be empty.
    """

    name: str
    type: str
    default: str
    doc: str


def arguments_of(cls: type[Component]) -> list[Argument]:
    """Return the arguments of a component class, in order.

    Example:
        >>> class Blur(Component):
        ...     '''Blurs.
        ...
        ...     Args:
        ...         sigma: Standard deviation in pixels.
        ...     '''
        ...
        ...     def __init__(self, sigma: float = 1.5):
        ...         pass
        >>> arguments_of(Blur)
        [Argument(name='sigma', type='float', default='1.5', doc='Standard deviation in pixels.')]
    """
    hints, docs = hints_of(cls), _documented(cls, "Args")
    found = []
    for name, parameter in parameters_of(cls).items():
        hint, default = hints[name], _default_text(parameter.default)
        if name in from_run(cls):
            default = "from the run"
        found.append(Argument(name, type_text(hint), default, docs.get(name, "")))
        if isinstance(parameter.default, BaseModel):
            found += _keys_of(name, parameter.default)
    return found


def description_of(cls: type[Component]) -> str:
    """Return what the docstring of a class says before its first section.

    Example:
        >>> class Blur(Component):
        ...     '''Blurs.
        ...
        ...     Args:
        ...         sigma: Standard deviation in pixels.
        ...     '''
        >>> description_of(Blur)
        'Blurs.'
    """
    return _SECTION.split(inspect.getdoc(cls) or "", maxsplit=1)[0].rstrip()


def example_of(cls: type[Component]) -> str:
    """Return the example in the docstring of a class, without indentation; empty if it has none.

    Example:
        >>> class Blur(Component):
        ...     '''Blurs.
        ...
        ...     Example:
        ...         blurred = Blur()(image)
        ...     '''
        >>> example_of(Blur)
        'blurred = Blur()(image)'
    """
    parts = _SECTION.split(inspect.getdoc(cls) or "")
    # The pattern has one group, so titles and contents of sections alternate.
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    return textwrap.dedent(sections.get("Example", "")).strip()


def type_text(hint: Any) -> str:
    """Return a type as a person would write it.

    Example:
        >>> from pydantic import Field
        >>> type_text(Annotated[float, Field(gt=0)])
        'float > 0'
        >>> type_text(Literal["step", "cosine"] | None)
        '"step" | "cosine" | null'
        >>> type_text(tuple[int, ...])
        '[int, ...]'
        >>> type_text(Mapping[str, Path])
        '{str: path}'
    """
    if hint is None or hint is type(None):
        return "null"
    if hint is Path:
        return "path"
    if isinstance(hint, type) and issubclass(hint, Component):
        return f"{{name: {hint.kind}}}"
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return f"{{{', '.join(hint.model_fields)}}}"
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        extras = arguments[1:]
        if any(isinstance(extra, FromRun) for extra in extras):
            return type_text(arguments[0])
        return " ".join([type_text(arguments[0]), *_limits(extras)])
    if origin is Literal:
        return " | ".join(f'"{x}"' if isinstance(x, str) else _default_text(x) for x in arguments)
    if origin in (Union, types.UnionType):
        return " | ".join(type_text(argument) for argument in arguments)
    if origin is tuple and not (len(arguments) == 2 and arguments[1] is Ellipsis):
        return f"[{', '.join(type_text(argument) for argument in arguments)}]"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"{{{type_text(arguments[0])}: {type_text(arguments[1])}}}"
    if isinstance(origin, type) and issubclass(origin, (Sequence, set, frozenset)):
        return f"[{type_text(arguments[0])}, ...]"
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")


_SECTION = re.compile(r"^(Args|Attributes|Raises|Example):\n", re.MULTILINE)
"""The title of a section of a class's docstring."""

_SIGNS = {
    annotated_types.Gt: (">", "gt"),
    annotated_types.Ge: (">=", "ge"),
    annotated_types.Lt: ("<", "lt"),
    annotated_types.Le: ("<=", "le"),
    annotated_types.MultipleOf: ("multiple of", "multiple_of"),
    annotated_types.MinLen: ("length >=", "min_length"),
    annotated_types.MaxLen: ("length <=", "max_length"),
}


def _limits(extras: Iterable[Any]) -> list[str]:
    """Return the limits among the metadata of ``Annotated``: ``> 0``, ``<= 8``."""
    found: list[str] = []
    for extra in extras:
        if isinstance(extra, FieldInfo):
            found += _limits(extra.metadata)
        for kind, (sign, attribute) in _SIGNS.items():
            if isinstance(extra, kind):
                found.append(f"{sign} {getattr(extra, attribute)}")
    return found


def _keys_of(group: str, default: BaseModel) -> list[Argument]:
    """Return the keys of a group of arguments."""
    docs = _documented(type(default), "Attributes")
    return [
        Argument(
            f"{group}.{key}",
            " ".join([type_text(field.annotation), *_limits(field.metadata)]),
            _default_text(getattr(default, key)),
            docs.get(key, ""),
        )
        for key, field in type(default).model_fields.items()
    ]


def _default_text(value: Any) -> str:
    """Return a default as one line of YAML."""
    if value is inspect.Parameter.empty:
        return "required"
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    if isinstance(value, ComponentSpec):
        value = value.to_dict()
    if isinstance(value, Component):
        return f"{{name: {value.name}}}"
    if isinstance(value, tuple):
        value = list(value)
    try:
        text = dump_yaml(value, default_flow_style=True, width=1000)
    except yaml.YAMLError:
        return str(value)
    return text.removesuffix("...\n").strip()


def _documented(cls: type, section: str) -> dict[str, str]:
    """Return argument -> description from a section of a Google docstring, of the nearest class."""
    for base in cls.__mro__:
        lines = inspect.cleandoc(base.__dict__.get("__doc__") or "").splitlines()
        if f"{section}:" not in lines:
            continue
        found: dict[str, str] = {}
        name = ""
        for line in lines[lines.index(f"{section}:") + 1 :]:
            if line and not line.startswith(" "):
                break
            start = re.match(r"^    (\w+)(?: \([^)]*\))?: (.*)$", line)
            if start:
                name = start[1]
                found[name] = start[2]
            elif name and line.strip():
                found[name] += " " + line.strip()
        return found
    return {}
