"""Derives the valid arguments of a component from the types of its ``__init__``."""

from __future__ import annotations

import functools
import operator
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Union

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    create_model,
)
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, core_schema

from fusionkit.errors import FusionkitError, nearest
from fusionkit.interfaces import Component, ComponentSpec, FromRun, Settings
from fusionkit.io.yaml_loading import load_yaml
from fusionkit.registry.components import Registry
from fusionkit.registry.renamed_arguments import rename_arguments, warn_renamed
from fusionkit.registry.signatures import from_run, hints_of, parameters_of
from fusionkit.registry.validation_errors import explain

__all__ = ["KIND_KEY", "SpecOf", "arguments_model", "make_spec", "not_loaded", "spec_from_text"]

KIND_KEY = "x-fusionkit-kind"
"""Marks the place of a component in an unfinished JSON schema."""


class SpecOf:
    """Annotates a field that holds a component of a kind: ``{name: ..., argument: ...}``.

    Validation needs the registry as its context: ``{"registry": Registry}``. It logs a warning for
    each argument under an old name, unless the context says ``{"warn": False}``.

    Example:
        >>> from fusionkit.registry.plugins import load_installed_plugins
        >>> adapter = TypeAdapter(Annotated[ComponentSpec, SpecOf("backbone")])
        >>> context = {"registry": load_installed_plugins().registry}
        >>> adapter.validate_python({"name": "average"}, context=context).name
        'average'
    """

    def __init__(self, kind: str):
        self.kind = kind

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Validate by looking the name up and validating the rest against its signature."""
        return core_schema.with_info_plain_validator_function(
            self._validate,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda spec: spec.to_dict() if isinstance(spec, ComponentSpec) else spec
            ),
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Mark the place, which ``fusionkit.config.json_schema`` replaces by a reference."""
        return {KIND_KEY: self.kind}

    def _validate(self, value: Any, info: ValidationInfo) -> ComponentSpec:
        context = info.context or {}
        registry: Registry = context["registry"]
        if isinstance(value, ComponentSpec):
            value = value.to_dict()
        if not isinstance(value, Mapping):
            raise PydanticCustomError(
                "component_type",
                "{message}",
                {"message": f"expected a {self.kind} as {{name: ...}}, found {value!r}"},
            )
        arguments = dict(value)
        name = arguments.pop("name", None)
        if not isinstance(name, str):
            raise PydanticCustomError(
                "component_name",
                "expected the key 'name' of a {kind} ({names})",
                {"kind": self.kind, "names": ", ".join(registry.names(self.kind)) or "none"},
            )
        if name not in registry.names(self.kind):
            raise _at("name", _UNKNOWN, registry.unknown(self.kind, name), name)
        cls = registry.get(self.kind, name).cls
        arguments, renamed = rename_arguments(cls, arguments)
        if context.get("warn", True):
            for old, new in renamed.items():
                warn_renamed(self.kind, name, old, new)
        model = arguments_model(cls)
        for key, found in arguments.items():
            if key not in model.model_fields:
                message = f"{self.kind} {name!r} has no argument {key!r}" + (
                    nearest(str(key), model.model_fields)
                    or f" (it has: {', '.join(model.model_fields) or 'none'})"
                )
                raise _at(str(key), "component_argument", message, found)
        checked = model.model_validate(arguments, context=info.context)
        return ComponentSpec(
            self.kind,
            name,
            {
                key: getattr(checked, key)
                for key in model.model_fields
                # Arguments that are left out come from the run, or keep their defaults outside one.
                if key in checked.model_fields_set or key not in from_run_of(model)
            },
        )


_UNKNOWN: Final = "component_unknown"


def _at(
    key: str,
    error_type: Literal["component_unknown", "component_argument"],
    message: str,
    found: Any,
) -> ValidationError:
    """Return an error at a key of the value that is being validated."""
    error = PydanticCustomError(error_type, "{message}", {"message": message})
    return ValidationError.from_exception_data(
        error_type, [InitErrorDetails(type=error, loc=(key,), input=found)]
    )


def not_loaded(error: ValidationError, registry: Registry) -> list[str]:
    """Return a sentence for each broken or disabled plugin if a component is unknown, else none.

    Example:
        >>> try:
        ...     TypeAdapter(int).validate_python("one")
        ... except ValidationError as error:
        ...     not_loaded(error, Registry())
        []
    """
    missing = any(problem["type"] == _UNKNOWN for problem in error.errors())
    return registry.not_loaded if missing else []


def make_spec(
    registry: Registry, kind: str, name: str, arguments: Mapping[str, Any], *, warn: bool = True
) -> ComponentSpec:
    """Validate arguments given in Python or metadata rather than in a file.

    Args:
        registry: The installed components.
        kind: Kind of the component.
        name: Name of the component.
        arguments: Its arguments; old names are renamed.
        warn: Whether to log a warning for each old name.

    Raises:
        FusionkitError: if the name is unknown or an argument is wrong.

    Example:
        >>> from fusionkit.registry.plugins import load_installed_plugins
        >>> registry = load_installed_plugins().registry
        >>> make_spec(registry, "transform", "shift", {"largest": 8}).arguments
        {'circular': True, 'largest': 8}
    """
    registry.get(kind, name)
    adapter: TypeAdapter[ComponentSpec] = TypeAdapter(Annotated[ComponentSpec, SpecOf(kind)])
    try:
        return adapter.validate_python(
            {"name": name, **arguments}, context={"registry": registry, "warn": warn}
        )
    except ValidationError as error:
        problems = [f"{where}: {what}" if where else what for where, what in explain(error)]
        problems += not_loaded(error, registry)
        raise FusionkitError(f"{kind} {name!r}: " + "; ".join(problems)) from None


def spec_from_text(registry: Registry, kind: str, text: str) -> ComponentSpec:
    """Return a component given as text: ``shift`` or ``{name: shift, circular: false}``.

    Raises:
        FusionkitError: if the text has another form, the name is unknown or an argument is wrong.

    Example:
        >>> from fusionkit.registry.plugins import load_installed_plugins
        >>> registry = load_installed_plugins().registry
        >>> spec_from_text(registry, "transform", "{name: shift, circular: false}").arguments
        {'circular': False, 'largest': None}
    """
    if not text.lstrip().startswith("{"):
        return make_spec(registry, kind, text, {})
    try:
        values = load_yaml(text)
    except yaml.YAMLError:
        values = None
    if not isinstance(values, dict) or not isinstance(values.get("name"), str):
        raise FusionkitError(
            f"expected a {kind} as NAME or {{name: NAME, ARGUMENT: VALUE}}, found {text!r}"
        )
    name = values.pop("name")
    return make_spec(registry, kind, name, values)


def from_run_of(model: type[BaseModel]) -> tuple[str, ...]:
    """Return the names of the fields that the run fills in."""
    return tuple(
        key
        for key, field in model.model_fields.items()
        if any(isinstance(extra, FromRun) for extra in field.metadata)
    )


@functools.cache
def arguments_model(cls: type[Component]) -> type[BaseModel]:
    """Return the pydantic model of a component's arguments: unknown keys are errors.

    Raises:
        FusionkitError: if an argument has no type, or a type that pydantic can't validate.

    Example:
        >>> class Blur(Component):
        ...     def __init__(self, sigma: float = 1.5):
        ...         pass
        >>> arguments_model(Blur)(sigma=2)
        Blur(sigma=2.0)
    """
    hints = hints_of(cls)
    fields: dict[str, Any] = {}
    for key, parameter in parameters_of(cls).items():
        if key not in hints:
            raise FusionkitError(
                f"{cls.__qualname__}: the argument {key!r} has no type; "
                f"the configuration is derived from the types of __init__"
            )
        default = parameter.default if parameter.default is not parameter.empty else ...
        if default is ... and key in from_run(cls):
            default = None
        hint = _with_specs(hints[key])
        if isinstance(default, Settings):
            hint = Annotated[hint, BeforeValidator(functools.partial(_filled_up, default))]
        fields[key] = (hint, default)
    try:
        return create_model(
            cls.__name__,
            __config__=ConfigDict(
                extra="forbid", arbitrary_types_allowed=False, allow_inf_nan=False
            ),
            **fields,
        )
    except Exception as error:  # pydantic raises several types for a signature it can't use
        raise FusionkitError(
            f"{cls.__qualname__}: its arguments can't be validated: {error}"
        ) from error


def _filled_up(default: Settings, value: Any) -> Any:
    """Add the default's values for the keys that a group of arguments leaves out."""
    return {**default.model_dump(), **value} if isinstance(value, Mapping) else value


def _with_specs(hint: Any) -> Any:
    """Replace component classes in a type by specs of their kind, at any depth."""
    if isinstance(hint, type) and issubclass(hint, Component):
        return Annotated[ComponentSpec, SpecOf(hint.kind)]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return Annotated[(_with_specs(arguments[0]), *arguments[1:])]  # type: ignore[return-value]
    if not arguments or origin is typing.Literal:
        return hint
    replaced = tuple(_with_specs(argument) for argument in arguments)
    if origin in (Union, types.UnionType):
        return functools.reduce(operator.or_, replaced)
    assert origin is not None
    return origin[replaced]
