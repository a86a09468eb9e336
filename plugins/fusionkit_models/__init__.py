"""Trained models; ``fusionkit fuse`` chooses one of them if no model is named."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from fusionkit import hookimpl


@hookimpl
def fusionkit_models() -> Iterable[Path]:
    """Return the model cards."""
    return sorted(Path(__file__).parent.glob("*.yaml"))
