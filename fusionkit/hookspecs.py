"""The hooks that a plugin may implement, and the two markers that declare them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from fusionkit.interfaces import Component, OfficialWeights, RunContext

__all__ = ["API_VERSION", "OLDEST_API", "hookimpl", "hookspec"]

API_VERSION = 1
"""Version of the kinds and hooks. It grows by one when a plugin that worked may stop working."""

OLDEST_API = 1
"""The oldest version that plugins may still target: the one before the current, if there is one."""

hookspec = pluggy.HookspecMarker("fusionkit")
hookimpl = pluggy.HookimplMarker("fusionkit")


@hookspec
def fusionkit_components() -> Iterable[type[Component]]:  # type: ignore[empty-body]
    """Return the component classes that the plugin brings."""


@hookspec
def fusionkit_recipes() -> Iterable[Path]:  # type: ignore[empty-body]
    """Return the recipe files that ``fusionkit run NAME.yaml`` finds by their file names."""


@hookspec
def fusionkit_models() -> Iterable[Path]:  # type: ignore[empty-body]
    """Return the cards (YAML) of trained models, each beside its weights: ``--model NAME``."""


@hookspec
def fusionkit_official_weights() -> Iterable[OfficialWeights]:  # type: ignore[empty-body]
    """Return the published networks that ``fusionkit convert --as NAME`` can read."""


@hookspec
def fusionkit_log(run: RunContext, stage: str, step: int, values: Mapping[str, float]) -> None:
    """See the numbers a stage logs: called on the first process only, after log.jsonl has them."""
