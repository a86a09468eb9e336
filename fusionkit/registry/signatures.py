"""What the ``__init__`` of a component class says about its arguments."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Mapping
from typing import Any

from fusionkit.errors import FusionkitError
from fusionkit.interfaces import Component, FromRun

__all__ = ["from_run", "hints_of", "parameters_of"]


def parameters_of(cls: type[Component]) -> Mapping[str, inspect.Parameter]:
    """Return the arguments of a component, none if it has no ``__init__`` of its own.

    What ``nn.Module`` takes is no configuration.
    """
    own = [base for base in cls.__mro__ if issubclass(base, Component)]
    if not any("__init__" in base.__dict__ for base in own):
        return {}
    return inspect.signature(cls).parameters


def hints_of(cls: type[Component]) -> Mapping[str, Any]:
    """Return the type of each argument, with what ``Annotated`` adds.

    Raises:
        FusionkitError: if a type can't be resolved.
    """
    if not parameters_of(cls):
        return {}
    try:
        return typing.get_type_hints(cls.__init__, include_extras=True)
    except NameError as error:
        raise FusionkitError(
            f"{cls.__qualname__}: a type of its __init__ can't be resolved ({error}); "
            f"import it outside of `if TYPE_CHECKING`"
        ) from error


@functools.cache
def from_run(cls: type[Component]) -> tuple[str, ...]:
    """Return the arguments that are annotated ``Modalities``."""
    return tuple(
        key
        for key, hint in hints_of(cls).items()
        if any(isinstance(extra, FromRun) for extra in getattr(hint, "__metadata__", ()))
    )
