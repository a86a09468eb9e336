"""Reads the arguments of a component class from the signature of its ``__init__``."""

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
    """Return the arguments of a component class by name.

    They are empty if neither the class nor a base class that is a component has an ``__init__``:
    the arguments of ``nn.Module`` are not part of a configuration.

    Example:
        >>> from fusionkit.interfaces import Component
        >>> class Blur(Component):
        ...     def __init__(self, sigma: float = 1.0):
        ...         pass
        >>> list(parameters_of(Blur))
        ['sigma']
    """
    own = [base for base in cls.__mro__ if issubclass(base, Component)]
    if not any("__init__" in base.__dict__ for base in own):
        return {}
    return inspect.signature(cls).parameters


def hints_of(cls: type[Component]) -> Mapping[str, Any]:
    """Return the type of each argument, including the metadata of ``Annotated``.

    Raises:
        FusionkitError: if a type can't be resolved.

    Example:
        >>> class Blur(Component):
        ...     def __init__(self, sigma: float = 1.0):
        ...         pass
        >>> hints_of(Blur)["sigma"]
        <class 'float'>
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
    """Return the names of the arguments that are annotated ``Modalities``.

    Example:
        >>> from fusionkit.interfaces import Modalities
        >>> class Stack(Component):
        ...     def __init__(self, sources: "Modalities", depth: int = 1):
        ...         pass
        >>> from_run(Stack)
        ('sources',)
    """
    return tuple(
        key
        for key, hint in hints_of(cls).items()
        if any(isinstance(extra, FromRun) for extra in getattr(hint, "__metadata__", ()))
    )
