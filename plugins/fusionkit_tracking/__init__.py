"""Curves of a run in TensorBoard: ``FUSIONKIT_TENSORBOARD=1 fusionkit run emma.yaml``.

Each number that a stage logs becomes a scalar ``STAGE/NUMBER`` at its step, in the folder
``tensorboard`` of the run. Needs ``pip install tensorboard``. The switch is a variable of the
environment and no key of the recipe, because who watches is no part of an experiment: with and
without it a run has one configuration and one result. Without it nothing is imported or written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fusionkit import hookimpl

if TYPE_CHECKING:
    from fusionkit.interfaces import RunContext


@hookimpl
def fusionkit_log(run: RunContext, stage: str, step: int, values: Mapping[str, float]) -> None:
    """Write the numbers of a step to the event file of the run, if it is asked for."""
    from fusionkit_tracking.tensorboard import asked_for, writer

    if asked_for() and (events := writer(run.folder)) is not None:
        for key, value in values.items():
            # Stages count their steps each from 0; under one tag their curves would cross.
            events.add_scalar(f"{stage}/{key}", value, step)
        # Whoever watches wants to see it now, and an interrupted run closes nothing.
        events.flush()
