"""What all kinds of component share: a name, a kind, and the spec that rebuilds them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel

__all__ = ["Component", "ComponentSpec", "FromRun", "Modalities"]


class FromRun:
    """Marks an argument that the run fills in when the configuration leaves it out."""


Modalities = Annotated[tuple[str, ...], FromRun()]
"""Annotation of an ``__init__`` argument that receives the modality names of the run."""


@dataclass(frozen=True)
class ComponentSpec:
    """A validated component of a configuration: what it takes to build it.

    ``arguments`` holds plain YAML values, with nested components as specs and groups of arguments
    as :class:`fusionkit.interfaces.Settings`.
    """

    kind: str
    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the ``{name: ..., argument: ...}`` form that YAML, JSON and metadata hold."""
        return {"name": self.name, **{key: _plain(value) for key, value in self.arguments.items()}}


def _plain(value: Any) -> Any:
    if isinstance(value, ComponentSpec):
        return value.to_dict()
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


class Component:
    """What all kinds share: a ``name`` given by the class, a ``spec`` set by whoever built it."""

    kind: ClassVar[str]
    name: ClassVar[str]
    example: ClassVar[Mapping[str, Any]] = {}
    """Arguments for a trial of seconds, where the defaults are too big or there are none; the
    conformance kit builds it by them."""
    renamed_arguments: ClassVar[Mapping[str, str]] = {}
    """Old name -> present name of arguments; ``{"lr": "optimizer.lr"}`` for one that is now in a
    group. Old names work for one release; a warning names the present one."""
    spec: ComponentSpec | None = None
    """What rebuilds this very component; ``None`` if it was constructed by hand."""
