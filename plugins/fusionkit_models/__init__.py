"""Trained models: what ``fusionkit fuse`` uses when none is named."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from fusionkit import hookimpl


@hookimpl
def fusionkit_models() -> Iterable[Path]:
    """The cards beside this file."""
    return sorted(Path(__file__).parent.glob("*.yaml"))
