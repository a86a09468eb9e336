"""The JSON schema of a configuration with every installed component, for editors."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from fusionkit.config.run_config import RunConfig
from fusionkit.config.terms import COMPONENT
from fusionkit.interfaces import KINDS
from fusionkit.registry.arguments import KIND_KEY, arguments_model
from fusionkit.registry.components import Registry

__all__ = ["json_schema"]


def json_schema(registry: Registry, model: type[BaseModel] | None = None) -> dict[str, Any]:
    """Return the JSON schema of a configuration.

    Args:
        registry: The components that the schema lists.
        model: Model of the configuration; that of a run if None.

    Example:
        >>> from fusionkit.registry.plugins import load_installed_plugins
        >>> schema = json_schema(load_installed_plugins().registry)
        >>> schema["properties"]["backbone"]
        {'$ref': '#/$defs/backbone'}
    """
    schema = (model or RunConfig).model_json_schema()
    definitions: dict[str, Any] = schema.setdefault("$defs", {})
    for name, definition in list(definitions.items()):
        own = dict(definition.get("properties", {}))
        if COMPONENT in own:  # a term: the keys of a component and of its host
            kind = own.pop(COMPONENT)[KIND_KEY]
            definitions[name] = _kind_schema(registry, kind, own, definitions)
    for kind in KINDS:
        definitions[kind] = _kind_schema(registry, kind, {}, definitions)
    return _with_references(schema)


def _with_references(schema: Any) -> Any:
    """Replace every component by a reference to the definition of its kind."""
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
    """Return a choice of all components of a kind; adds nested definitions to ``definitions``."""
    alternatives = []
    for entry in registry:
        if entry.cls.kind != kind:
            continue
        # Plugins may give their groups of arguments equal names, so each component has its own.
        prefix = f"{kind}.{entry.cls.name}."
        model = arguments_model(entry.cls).model_json_schema(
            ref_template=f"#/$defs/{prefix}{{model}}"
        )
        groups = model.pop("$defs", {})
        definitions.update({prefix + key: group for key, group in groups.items()})
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
