"""TensorBoard curves of a run: ``FUSIONKIT_TENSORBOARD=1 fusionkit run emma.yaml``.

Each number that a stage logs becomes a scalar ``STAGE/NUMBER`` at its step, in the folder
``tensorboard`` of the run. Needs ``pip install tensorboard``. An environment variable turns the
plugin on, not a key of the recipe, because watching a run must not change its configuration.
If the variable is not set, the plugin imports and writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fusionkit import hookimpl

if TYPE_CHECKING:
    from fusionkit.interfaces import RunContext


@hookimpl
def fusionkit_log(run: RunContext, stage: str, step: int, values: Mapping[str, float]) -> None:
    """Write the numbers of a step to the event file of the run if the plugin is on."""
    from fusionkit_tracking.tensorboard import build_writer, is_enabled

    if is_enabled() and (events := build_writer(run.folder)) is not None:
        for key, value in values.items():
            # Each stage counts its steps from 0, so a tag shared by stages would mix their curves.
            events.add_scalar(f"{stage}/{key}", value, step)
        # Flush, so that curves are up to date and an interrupted run loses nothing.
        events.flush()
