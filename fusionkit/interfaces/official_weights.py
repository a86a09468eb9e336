"""Weights that the authors of a method published, and how they map to an installed component."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["OfficialWeights"]


def _unchanged(key: str) -> str:
    return key


@dataclass(frozen=True)
class OfficialWeights:
    """A published network that ``fusionkit convert`` can read, as a plugin announces it.

    Attributes:
        name: Value of ``--as``; unique among the installed plugins.
        kind: Kind of the component that the weights belong to, such as ``backbone``.
        component: Name of that component.
        arguments: Arguments that give the component the published size; empty for its defaults.
        rename_key: Maps a key of the published state dict to a key of the component. A leading
            ``module.`` is removed before. Keys stay as they are by default.

    Example:
        >>> def rename(key: str) -> str:
        ...     return key.replace("encoder.conv1", "encoder.0")
        >>> official = OfficialWeights("deep-fuse", "backbone", "deep", {"width": 64}, rename)
        >>> official.rename_key("encoder.conv1.weight")
        'encoder.0.weight'
    """

    name: str
    kind: str
    component: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    rename_key: Callable[[str], str] = _unchanged
