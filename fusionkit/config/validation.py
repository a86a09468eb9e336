"""Validates a YAML document; each problem is reported with its line."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from fusionkit.errors import FusionkitError
from fusionkit.io.yaml_document import Document
from fusionkit.registry.arguments import not_loaded
from fusionkit.registry.components import Registry
from fusionkit.registry.validation_errors import explain_located

__all__ = ["validate_document"]

Model = TypeVar("Model", bound=BaseModel)


def validate_document(model: type[Model], document: Document, registry: Registry) -> Model:
    """Validate a document, with each ``${VARIABLE}`` replaced by the environment's.

    Args:
        model: What the document must hold.
        document: The document.
        registry: The installed components.

    Raises:
        FusionkitError: with a line ``file:line: path.of.key: ...`` for each problem.

    Example:
        >>> from pathlib import Path
        >>> class Size(BaseModel):
        ...     width: int
        >>> document = Document(Path("size.yaml"), {"width": "8"}, {("width",): "size.yaml:1"})
        >>> validate_document(Size, document, Registry())
        Size(width=8)
    """
    try:
        return model.model_validate(document.expanded(), context={"registry": registry})
    except ValidationError as error:
        problems = [
            str(document.error(location, sentence))
            for location, sentence in explain_located(error, model.model_fields)
        ]
        problems += not_loaded(error, registry)
        raise FusionkitError("\n".join(problems)) from None
