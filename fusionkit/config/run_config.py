"""The configuration of a run: its model, how it is loaded, and its JSON schema."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from fusionkit.errors import FusionkitError
from fusionkit.interfaces import KINDS, ComponentSpec
from fusionkit.io.yaml_document import Document, key_path, read_yaml
from fusionkit.registry.arguments import KIND_KEY, SpecOf, arguments_model, not_loaded
from fusionkit.registry.components import Registry
from fusionkit.registry.plugins import Plugins
from fusionkit.registry.validation_errors import explain_located

__all__ = [
    "LoadedConfig",
    "LossTerm",
    "RunConfig",
    "Term",
    "TransformTerm",
    "json_schema",
    "load_config",
]


HIDDEN = "<component>"
"""A part of a location that the user never wrote, in brackets so that messages leave it out."""


class Term(BaseModel):
    """A component with a key of the host beside its own arguments."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    component: Any = Field(alias=HIDDEN)

    @model_validator(mode="before")
    @classmethod
    def _split(cls, value: Any, info: ValidationInfo) -> Any:
        if not isinstance(value, Mapping):
            raise PydanticCustomError(
                "component_type",
                "{message}",
                {"message": f"expected {{name: ...}}, found {value!r}"},
            )
        own = [key for key in cls.model_fields if key != "component" and key in value]
        rest = {key: item for key, item in value.items() if key not in own}
        return {**{key: value[key] for key in own}, HIDDEN: rest}

    @model_serializer
    def _join(self) -> dict[str, Any]:
        own = {key: getattr(self, key) for key in type(self).model_fields if key != "component"}
        return {**self.component.to_dict(), **own}


class LossTerm(Term):
    """A loss and its weight in the objective."""

    component: Annotated[ComponentSpec, SpecOf("loss")] = Field(alias=HIDDEN)
    weight: Annotated[float, Field(ge=0)] = 1.0


class TransformTerm(Term):
    """A transform group and how many of its elements are drawn per step."""

    component: Annotated[ComponentSpec, SpecOf("transform")] = Field(alias=HIDDEN)
    count: Annotated[int, Field(ge=0)] = 3


_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class RunConfig(BaseModel):
    """What ``fusionkit run`` does, in the terms of the paper.

    Attributes:
        name: Of the run; its folder is ``runs/NAME``.
        seed: Everything random follows from it.
        modalities: Names of the sources, two or more.
        data: The scenes to train on, and to validate on.
        test: Other scenes to fuse and to evaluate; the ``val`` split of ``data`` if left out.
        teacher: Backbones whose results the sensors learn from, or ``self``: the moving average
            of the run's own backbone.
        sensors: A pseudo-sensor per modality.
        backbone: The fusion network.
        transforms: Groups that fusing must commute with, and elements per step.
        losses: Terms of the objective, with weights.
        stages: What is done, in order.
        accelerator: ``auto`` takes a GPU where there is one.
        devices: Processes of this machine, one per device.
        num_nodes: Machines, each of which starts the same command under ``torchrun``.
        precision: Of the training arithmetic.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: _Name
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    modalities: Annotated[tuple[_Name, ...], Field(min_length=2)] = ("infrared", "visible")
    data: Annotated[ComponentSpec, SpecOf("dataset")]
    test: Annotated[ComponentSpec, SpecOf("dataset")] | None = None
    teacher: Literal["self"] | tuple[Annotated[ComponentSpec, SpecOf("backbone")], ...] = ()
    sensors: dict[str, Annotated[ComponentSpec, SpecOf("sensor")]] = Field(default_factory=dict)
    backbone: Annotated[ComponentSpec, SpecOf("backbone")]
    transforms: tuple[TransformTerm, ...] = ()
    losses: tuple[LossTerm, ...] = ()
    stages: Annotated[tuple[Annotated[ComponentSpec, SpecOf("stage")], ...], Field(min_length=1)]
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] = "auto"
    devices: Annotated[int, Field(ge=1)] = 1
    num_nodes: Annotated[int, Field(ge=1)] = 1
    precision: Literal["32-true", "16-mixed", "bf16-mixed", "64-true"] = "32-true"

    @model_validator(mode="after")
    def _sensors_match(self) -> Self:
        if repeated := [m for m in self.modalities if self.modalities.count(m) > 1]:
            raise ValueError(f"modalities: {repeated[0]!r} is there twice")
        if self.sensors and set(self.sensors) != set(self.modalities):
            raise ValueError(
                f"expected one sensor for each of the modalities {', '.join(self.modalities)}, "
                f"found sensors for {', '.join(self.sensors)}"
            )
        return self

    def to_dict(self) -> dict[str, Any]:
        """Return plain values: all of the configuration, defaults too."""
        return self.model_dump(mode="json")

    def to_yaml(self) -> str:
        """Return the configuration as YAML that runs again."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, width=100)


class LoadedConfig:
    """A validated configuration that knows where each of its keys was written."""

    def __init__(self, config: RunConfig, document: Document):
        self.config = config
        self.document = document

    def error(self, location: Iterable[str | int], problem: Exception | str) -> FusionkitError:
        """Return the error for a key: ``file:line: path.of.key: problem``."""
        location = tuple(location)
        return FusionkitError(f"{self.document.where(location)}: {key_path(location)}: {problem}")


def load_config(source: str | Path, overrides: Sequence[str], plugins: Plugins) -> LoadedConfig:
    """Load and validate a configuration file, or a recipe by name.

    ``${VARIABLE}`` in a text stands for an environment variable.

    Args:
        source: Path of a YAML file, or file name of a recipe that a plugin ships.
        overrides: ``key=value``, later ones win.
        plugins: What the names in it refer to.

    Raises:
        FusionkitError: one line ``file:line: path.of.key: ...`` for each problem.
    """
    path = Path(source)
    if not path.is_file():
        if len(path.parts) > 1:
            raise FusionkitError(f"there is no configuration file {path}")
        path = plugins.recipe(path.name)
    document = read_yaml(path)
    # A new name first: it drops the arguments of the component it replaces.
    for assignment in sorted(overrides, key=lambda o: not _renames(o)):
        document.override(assignment)
    try:
        config = RunConfig.model_validate(
            document.expanded(), context={"registry": plugins.registry}
        )
    except ValidationError as error:
        problems = [
            f"{document.where(location)}: {key_path(location) + ': ' if location else ''}{sentence}"
            for location, sentence in explain_located(error, RunConfig.model_fields)
        ]
        problems += not_loaded(error, plugins.registry)
        raise FusionkitError("\n".join(problems)) from None
    return LoadedConfig(config, document)


def _renames(assignment: str) -> bool:
    return re.match(r"^[^=]+\.name=", assignment) is not None


def json_schema(registry: Registry, model: type[BaseModel] | None = None) -> dict[str, Any]:
    """Return the JSON schema of a configuration with every installed component, for editors.

    Args:
        registry: Of the components.
        model: Of the configuration; that of a run if None.
    """
    schema = (model or RunConfig).model_json_schema()
    definitions: dict[str, Any] = schema.setdefault("$defs", {})
    for name, definition in list(definitions.items()):
        own = dict(definition.get("properties", {}))
        if HIDDEN in own:  # a term: the keys of a component and of its host
            kind = own.pop(HIDDEN)[KIND_KEY]
            definitions[name] = _kind_schema(registry, kind, own, definitions)
    for kind in KINDS:
        definitions[kind] = _kind_schema(registry, kind, {}, definitions)
    return _with_references(schema)


def _with_references(schema: Any) -> Any:
    """Put a reference to the definition of its kind in place of every component."""
    if isinstance(schema, dict):
        if KIND_KEY in schema:
            return {"$ref": f"#/$defs/{schema[KIND_KEY]}"}
        return {key: _with_references(value) for key, value in schema.items()}
    if isinstance(schema, list):
        return [_with_references(value) for value in schema]
    return schema


def _kind_schema(
    registry: Registry, kind: str, host_keys: dict[str, Any], definitions: dict[str, Any]
) -> dict[str, Any]:
    alternatives = []
    for entry in registry:
        if entry.cls.kind != kind:
            continue
        model = arguments_model(entry.cls).model_json_schema()
        definitions.update(model.pop("$defs", {}))
        properties = {"name": {"const": entry.cls.name}, **model.get("properties", {}), **host_keys}
        alternatives.append(
            {
                "title": entry.cls.name,
                "description": entry.summary,
                "type": "object",
                "properties": properties,
                "required": ["name", *model.get("required", [])],
                "additionalProperties": False,
            }
        )
    return {"oneOf": alternatives} if alternatives else {"not": {}}
