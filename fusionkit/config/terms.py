"""Components of a configuration with extra keys beside their arguments, such as a loss's weight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from fusionkit.interfaces import ComponentSpec
from fusionkit.registry.arguments import SpecOf

__all__ = ["COMPONENT", "LossTerm", "Term", "TransformTerm"]

COMPONENT = "<component>"
"""Alias of the field that holds the component. The user never writes it; error messages leave out
parts of a location that are in angle brackets."""


class Term(BaseModel):
    """A component whose mapping holds keys of the host beside the component's own arguments."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    component: Any = Field(alias=COMPONENT)

    @model_validator(mode="before")
    @classmethod
    def _separate(cls, value: Any, info: ValidationInfo) -> Any:
        if not isinstance(value, Mapping):
            raise PydanticCustomError(
                "component_type",
                "{message}",
                {"message": f"expected {{name: ...}}, found {value!r}"},
            )
        own = [key for key in cls.model_fields if key != "component" and key in value]
        rest = {key: item for key, item in value.items() if key not in own}
        return {**{key: value[key] for key in own}, COMPONENT: rest}

    @model_serializer
    def _join(self) -> dict[str, Any]:
        own = {key: getattr(self, key) for key in type(self).model_fields if key != "component"}
        return {**self.component.to_dict(), **own}


class LossTerm(Term):
    """A loss and its weight in the objective."""

    component: Annotated[ComponentSpec, SpecOf("loss")] = Field(alias=COMPONENT)
    weight: Annotated[float, Field(ge=0)] = 1.0


class TransformTerm(Term):
    """A transform group and the number of elements drawn from it per step."""

    component: Annotated[ComponentSpec, SpecOf("transform")] = Field(alias=COMPONENT)
    count: Annotated[int, Field(ge=0)] = 3
