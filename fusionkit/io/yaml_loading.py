"""YAML 1.2: from strangers only plain values, within limits of size, depth and repetition."""

from __future__ import annotations

import re
from typing import Any

import yaml

__all__ = ["Yaml12Loader", "compose_yaml", "dump_yaml", "load_yaml"]

_LONGEST = 1 << 18
_DEEPEST = 64
_MOST_VALUES = 100_000
_TAGS = frozenset(
    f"tag:yaml.org,2002:{name}"
    for name in ("str", "int", "float", "bool", "null", "map", "seq", "merge")
)


class Yaml12Loader(yaml.SafeLoader):
    """YAML with the numbers of YAML 1.2: ``1e-4`` is a number, ``12:30`` and ``yes`` are text.

    Example:
        >>> yaml.load("[1e-4, 12:30, yes, 2024-05-17]", Yaml12Loader)
        [0.0001, '12:30', 'yes', '2024-05-17']
    """


Yaml12Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag.rpartition(":")[2] not in ("float", "int", "bool", "timestamp")
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Yaml12Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
Yaml12Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9]{1,300}$"), list("-+0123456789")
)
Yaml12Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$|^[-+]?\.(?:inf|nan)$"),
    list("-+.0123456789"),
)
# PyYAML's own reads 010 as 8, and fails at 08.
Yaml12Loader.add_constructor("tag:yaml.org,2002:int", lambda _, node: int(node.value))


class _Dumper(yaml.SafeDumper):
    """Quotes a text that would be something else in YAML 1.1 or in 1.2."""


_Dumper.yaml_implicit_resolvers = {
    first: [
        *yaml.SafeDumper.yaml_implicit_resolvers.get(first, []),
        *Yaml12Loader.yaml_implicit_resolvers.get(first, []),
    ]
    for first in {*yaml.SafeDumper.yaml_implicit_resolvers, *Yaml12Loader.yaml_implicit_resolvers}
}


def dump_yaml(value: Any, **options: Any) -> str:
    """Return plain values as YAML that ``load_yaml`` and readers of YAML 1.1 read back.

    Args:
        value: Dictionaries, lists and scalars.
        options: Those of ``yaml.dump``; keys keep their order by default.

    Example:
        >>> print(dump_yaml({"name": "1e4", "seed": 8}), end="")
        name: '1e4'
        seed: 8
    """
    return yaml.dump(value, Dumper=_Dumper, **{"sort_keys": False, **options})


def compose_yaml(text: str, name: str = "<text>") -> tuple[Yaml12Loader, yaml.Node | None]:
    """Return the loader and the root node of a YAML text; None for an empty one.

    Args:
        text: At most 262,144 characters, 64 levels deep, with at most 100,000
            values once aliases are replaced.
        name: What error messages call the text.

    Raises:
        yaml.MarkedYAMLError: if it is no YAML, exceeds a limit, or has a tag beyond plain values.

    Example:
        >>> _, node = compose_yaml("seed: 1")
        >>> node.value[0][1].value
        '1'
        >>> compose_yaml("seed: !!python/name:os.system")
        Traceback (most recent call last):
        yaml.constructor.ConstructorError: expected a plain value, found the tag ...
    """
    if len(text) > _LONGEST:
        mark = yaml.Mark(name, 0, 0, 0, None, 0)
        raise yaml.constructor.ConstructorError(
            None, None, f"expected at most {_LONGEST} characters, found {len(text)}", mark
        )
    _check_depth(text, name)
    loader = Yaml12Loader(text)
    loader.name = name
    node = loader.get_single_node()
    if node is not None:
        _count(loader, node, {})
    return loader, node


def load_yaml(text: str) -> Any:
    """Return the values of a YAML text; the limits are those of ``compose_yaml``.

    Raises:
        yaml.YAMLError: if it is no YAML or exceeds a limit.

    Example:
        >>> load_yaml("{name: shift, circular: false}")
        {'name': 'shift', 'circular': False}
    """
    loader, node = compose_yaml(text)
    return None if node is None else loader.construct_document(node)


def _check_depth(text: str, name: str) -> None:
    """Refuse deep nesting before nodes are composed, which is recursive."""
    loader, depth = Yaml12Loader(text), 0
    loader.name = name
    while loader.check_event():
        event = loader.get_event()
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _DEEPEST:
                raise _refusal(f"expected at most {_DEEPEST} levels", event.start_mark)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _count(loader: Yaml12Loader, node: yaml.Node, counted: dict[int, int | None]) -> int:
    """Return the number of values below a node, with aliases replaced.

    Args:
        loader: Knows which texts are numbers.
        node: The node.
        counted: Number by node; None while the node is being counted.
    """
    if node.tag not in _TAGS:
        raise _refusal(f"expected a plain value, found the tag {node.tag}", node.start_mark)
    if id(node) in counted:
        found = counted[id(node)]
        if found is None:
            raise _refusal("found an alias of a value that holds it", node.start_mark)
        return found
    counted[id(node)] = None
    total = 1
    if isinstance(node, yaml.SequenceNode):
        total += sum(_count(loader, item, counted) for item in node.value)
    elif isinstance(node, yaml.MappingNode):
        for key, item in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _refusal("expected a text as key, found a list or mapping", key.start_mark)
            total += _count(loader, key, counted) + _count(loader, item, counted)
    else:
        _check_scalar(loader, node)
    if total > _MOST_VALUES:
        raise _refusal(f"expected at most {_MOST_VALUES} values", node.start_mark)
    counted[id(node)] = total
    return total


_NO_TEXT = re.compile(r"[\0\ud800-\udfff]")
"""Characters that escapes can name, but no file or name of a file can hold."""


def _check_scalar(loader: Yaml12Loader, node: yaml.Node) -> None:
    """Refuse ``!!int one``, and characters that no text holds."""
    if _NO_TEXT.search(node.value):
        raise _refusal("expected a text, found a zero byte or half a character", node.start_mark)
    kind, own = (
        node.tag.rpartition(":")[2],
        loader.resolve(yaml.ScalarNode, node.value, (True, False)),
    )
    possible = {node.tag, "tag:yaml.org,2002:int"} if kind == "float" else {node.tag}
    if kind != "str" and own not in possible:
        raise _refusal(
            f"expected a value of the type {kind}, found {node.value!r}", node.start_mark
        )


def _refusal(problem: str, mark: yaml.Mark) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, mark)
