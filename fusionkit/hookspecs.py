"""The hooks that a plugin may implement, and the markers that declare them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from fusionkit.interfaces import Component, OfficialWeights, RunContext

__all__ = ["API_VERSION", "OLDEST_API", "hookimpl", "hookspec"]

API_VERSION = 1
"""Version of kinds and hooks. It increases when plugins may have to be changed."""

OLDEST_API = 1
"""The oldest version that plugins may still target: at most one before the current one."""

hookspec = pluggy.HookspecMarker("fusionkit")
hookimpl = pluggy.HookimplMarker("fusionkit")


@hookspec
def fusionkit_components() -> Iterable[type[Component]]:  # type: ignore[empty-body]
    """Return the component classes of the plugin."""


@hookspec
def fusionkit_recipes() -> Iterable[Path]:  # type: ignore[empty-body]
    """Return recipe files, which ``fusionkit run NAME.yaml`` finds by their file names."""


@hookspec
def fusionkit_models() -> Iterable[Path]:  # type: ignore[empty-body]
    """Return cards (YAML) of trained models for ``--model NAME``, each beside its weights."""


@hookspec
def fusionkit_data() -> Iterable[Path]:  # type: ignore[empty-body]
    """Return cards (YAML) of published data sets for ``fusionkit data``."""


@hookspec
def fusionkit_official_weights() -> Iterable[OfficialWeights]:  # type: ignore[empty-body]
    """Return the published networks that ``fusionkit convert --as NAME`` can read."""


@hookspec
def fusionkit_log(run: RunContext, stage: str, step: int, values: Mapping[str, float]) -> None:
    """Receive the numbers that a stage logs; called on the first process only."""
