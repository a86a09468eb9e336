"""Groups of arguments: ``optimizer: {name: adam, lr: 1.0e-4}`` instead of two flat arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from fusionkit.errors import nearest

__all__ = ["Settings"]


class Settings(BaseModel):
    """Base class of a group of arguments that belong together.

    A component that annotates an argument with a subclass takes a nested ``{key: value}`` in
    configurations and receives an instance. Keys that are left out keep the values of the
    argument's default. The fields hold plain values, not components.

    Example:
        >>> class OptimizerSettings(Settings):
        ...     name: str = "adam"
        ...     lr: float = 1e-4
        >>> OptimizerSettings(lr=1e-3)
        OptimizerSettings(name='adam', lr=0.001)
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _check_keys(cls, value: Any) -> Any:
        """Raise for an unknown key, with the nearest known one."""
        if isinstance(value, cls):
            return value
        known = ", ".join(cls.model_fields)
        if not isinstance(value, Mapping):
            message = f"expected keys and values in braces (keys: {known}), found {value!r}"
            raise PydanticCustomError("component_type", "{message}", {"message": message})
        for key, found in value.items():
            if key not in cls.model_fields:
                hint = nearest(str(key), cls.model_fields) or f" (known here: {known})"
                error = PydanticCustomError(
                    "component_key", "{message}", {"message": f"unknown key {key!r}{hint}"}
                )
                raise ValidationError.from_exception_data(
                    cls.__name__, [InitErrorDetails(type=error, loc=(str(key),), input=found)]
                )
        return value
