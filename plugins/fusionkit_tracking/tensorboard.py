"""The switch, and one writer of TensorBoard events for each run folder."""

from __future__ import annotations

import functools
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter

VARIABLE = "FUSIONKIT_TENSORBOARD"
"""Set to 1 in the environment, it turns the plugin on; any other value leaves it off."""


def asked_for() -> bool:
    """Return whether the environment asks for events; looked at anew at each step."""
    return os.environ.get(VARIABLE) == "1"


@functools.cache
def writer(folder: Path) -> SummaryWriter | None:
    """Return the writer of a run folder, None (and a warning, once) without TensorBoard."""
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "tensorboard":
            raise
        warnings.warn(
            f"{VARIABLE} is set and tensorboard is not installed: no events are written; "
            f"run: pip install tensorboard",
            stacklevel=2,
        )
        return None
    return SummaryWriter(str(folder / "tensorboard"))
