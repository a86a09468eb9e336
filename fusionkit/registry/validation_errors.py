"""Turns pydantic's errors into sentences that say what was expected and what was found."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from fusionkit.errors import nearest
from fusionkit.io.yaml_document import key_path

__all__ = ["explain", "explain_located"]


def explain(error: ValidationError, known: Iterable[str] = ()) -> list[tuple[str, str]]:
    """Return (path of the key, sentence) for each problem, in order.

    Args:
        error: The errors that pydantic found.
        known: Keys that are valid at the top level, for suggestions.

    Example:
        >>> from pydantic import TypeAdapter
        >>> try:
        ...     _ = TypeAdapter(dict[str, int]).validate_python({"width": "wide"})
        ... except ValidationError as error:
        ...     explain(error)
        [('width', "expected a valid integer, unable to parse string as an integer, found 'wide'")]
    """
    return [(key_path(location), sentence) for location, sentence in explain_located(error, known)]


def explain_located(
    error: ValidationError, known: Iterable[str] = ()
) -> list[tuple[tuple[str | int, ...], str]]:
    """Return (location, sentence) for each problem; for a union, only the closest alternative.

    Example:
        >>> from pydantic import TypeAdapter
        >>> try:
        ...     _ = TypeAdapter(dict[str, int]).validate_python({"width": "wide"})
        ... except ValidationError as error:
        ...     [location for location, _ in explain_located(error)]
        [('width',)]
    """
    known = list(known)
    problems: dict[tuple[str | int, ...], list[str]] = {}
    for problem in error.errors():
        location = tuple(part for part in problem["loc"] if not _is_union_branch(part))
        problems.setdefault(location, []).append(_sentence(problem, known))
    deepest = [
        location
        for location in problems
        if not any(other != location and other[: len(location)] == location for other in problems)
    ]
    return [(location, " or ".join(dict.fromkeys(problems[location]))) for location in deepest]


def _is_union_branch(part: Any) -> bool:
    """Return whether a part of a location is the branch of a union, which pydantic adds."""
    return isinstance(part, str) and (
        any(bracket in part for bracket in "[(<") or part in {"int", "float", "str", "bool"}
    )


def _sentence(problem: Any, known: list[str]) -> str:
    kind, found = problem["type"], problem.get("input")
    if kind == "extra_forbidden":
        key = str(problem["loc"][-1])
        return f"unknown key {key!r}" + (nearest(key, known) or _listed(known))
    if kind == "missing":
        return "this key is required"
    if kind.startswith("component"):
        return problem["msg"]
    message = problem["msg"].removeprefix("Value error, ")
    message = message.replace("Input should be", "expected").replace("Input", "expected it")
    return f"{message}, found {found!r}" if len(repr(found)) < 80 else message


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    return f" (known here: {', '.join(names)})" if names else ""
