"""Rendered road scenes, seen by an infrared and a visible camera: data without files."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from fusionkit import hookimpl

if TYPE_CHECKING:
    from fusionkit.interfaces import Component


@hookimpl
def fusionkit_components() -> Iterable[type[Component]]:
    """Return the data set ``scenes``."""
    from fusionkit_scenes.dataset import Scenes

    return [Scenes]
