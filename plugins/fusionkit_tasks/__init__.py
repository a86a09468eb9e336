"""Downstream tasks, and the labelled data sets of the field that they are measured on."""

from __future__ import annotations

from fusionkit import hookimpl
from fusionkit.interfaces import Component


@hookimpl
def fusionkit_components() -> list[type[Component]]:
    """Return the tasks and the data sets."""
    return []
