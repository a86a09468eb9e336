"""The switch of the plugin, and a TensorBoard writer for each run folder."""

from __future__ import annotations

import functools
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter

VARIABLE = "FUSIONKIT_TENSORBOARD"
"""Environment variable; the value 1 turns the plugin on, any other value leaves it off."""


def is_enabled() -> bool:
    """Return whether the environment variable is 1 now."""
    return os.environ.get(VARIABLE) == "1"


@functools.cache
def build_writer(folder: Path) -> SummaryWriter | None:
    """Return the writer of a run folder; warn once and return None if TensorBoard is missing."""
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "tensorboard":
            raise
        warnings.warn(
            f"{VARIABLE} is set, but tensorboard is not installed, so no curves are written; "
            f"run: pip install tensorboard",
            stacklevel=2,
        )
        return None
    return SummaryWriter(str(folder / "tensorboard"))
