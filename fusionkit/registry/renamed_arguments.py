"""Old names of arguments, which work for one release with a warning."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from typing import Any

from fusionkit.interfaces import Component, Settings

__all__ = ["rename_arguments", "warn_renamed"]

logger = logging.getLogger("fusionkit")


def rename_arguments(
    cls: type[Component], arguments: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Give old arguments the names that ``cls.renamed_arguments`` says.

    Where an argument is given under both names, the one that stands later wins. Overrides of the
    command line stand after what the file says, so they win whichever name they use.

    Args:
        cls: A component class.
        arguments: Arguments by name, in the order in which they were given.

    Returns:
        The arguments under their present names, and old name -> present name of those renamed.

    Example:
        >>> class Train(Component):
        ...     renamed_arguments = {"rate": "lr"}
        >>> rename_arguments(Train, {"rate": 0.1})
        ({'lr': 0.1}, {'rate': 'lr'})
    """
    places = {key: place for place, key in enumerate(arguments)}
    result, renamed = dict(arguments), {}
    # A group that once was a single value first: `optimizer: adam`, then `lr`.
    for old, new in sorted(cls.renamed_arguments.items(), key=lambda pair: not _is_group(*pair)):
        name, _, key = new.partition(".")
        if old not in arguments or (_is_group(old, new) and not isinstance(result[old], str)):
            continue
        value = result.pop(old)
        renamed[old] = new
        is_older = places[old] < places.get(name, -1)
        if not key:
            result[name] = result[name] if is_older else value
            continue
        group = result.get(name)
        group = dict(group) if isinstance(group, (Mapping, Settings)) else {}
        if not (is_older and key in group):
            group[key] = value
        result[name] = group
    return result, renamed


def _is_group(old: str, new: str) -> bool:
    """Return whether an argument became the group of the same name: optimizer, optimizer.name."""
    return new.startswith(f"{old}.")


@functools.cache  # once a process is enough
def warn_renamed(kind: str, name: str, old: str, new: str) -> None:
    """Log that an argument has a new name.

    Example:
        >>> warn_renamed("stage", "train", "rate", "lr")
    """
    logger.warning(
        "%s %r: the argument %r is now %r; the old name works for one more release",
        kind,
        name,
        old,
        new,
    )
