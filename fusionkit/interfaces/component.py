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
    """A validated component of a configuration, ready to be built.

    ``arguments`` holds plain YAML values, with nested components as specs and groups of arguments
    as :class:`fusionkit.interfaces.Settings`.
    """

    kind: str
    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the form ``{name: ..., argument: ...}`` that YAML, JSON and weight files contain.

        Example:
            >>> ComponentSpec("loss", "sensing", {"noise": 0.03}).to_dict()
            {'name': 'sensing', 'noise': 0.03}
        """
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
    """Base of all kinds: the class gives a ``name``, and whoever builds it sets the ``spec``."""

    kind: ClassVar[str]
    name: ClassVar[str]
    example: ClassVar[Mapping[str, Any]] = {}
    """Arguments for a trial that takes seconds, if the defaults are too large or missing. The
    conformance kit builds the component with them."""
    refuses: ClassVar[Mapping[str, str]] = {}
    """Name of a conformance check -> why this component refuses it with FusionkitError. The key
    ``build`` stands for a component that can't be built from its ``example`` on every machine,
    because it needs files of the user or an optional package. A refusal that is not declared
    fails the check."""
    renamed_arguments: ClassVar[Mapping[str, str]] = {}
    """Old name -> new name of arguments, for example ``{"lr": "optimizer.lr"}``. Old names work for
    one release, with a warning that names the new one."""
    spec: ComponentSpec | None = None
    """Rebuilds this component; None if it was constructed directly."""
