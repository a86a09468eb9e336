"""Downstream tasks (segmentation, detection) and the labelled data sets to score them on."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from fusionkit import hookimpl

if TYPE_CHECKING:
    from fusionkit.interfaces import Component


@hookimpl
def fusionkit_components() -> Iterable[type[Component]]:
    """Return the tasks and the data sets."""
    from fusionkit_tasks.layouts import DATASETS
    from fusionkit_tasks.tasks import TASKS

    return [*TASKS, *DATASETS]


@hookimpl
def fusionkit_data() -> Iterable[Path]:
    """Return the cards of the labelled data sets."""
    return sorted((Path(__file__).parent / "data").glob("*.yaml"))
