"""The weights that stages leave to later ones, and what an interrupted stage resumes from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from fusionkit.errors import FusionkitError
from fusionkit.functional.finiteness import first_nonfinite
from fusionkit.interfaces import Component
from fusionkit.io.atomic_write import atomic_write, set_aside
from fusionkit.registry.components import Registry
from fusionkit.registry.weights import load_weights, save_weights
from fusionkit.runs.ledger import Ledger

__all__ = ["StageCheckpoints", "weights_file"]


def weights_file(folder: Path, name: str, stage: str = "") -> Path:
    """Return where weights are saved: those of a stage, or the newest of that name.

    Args:
        folder: The run folder.
        name: Such as ``backbone``.
        stage: Key of the stage that saved them; the newest if empty.
    """
    file = f"{stage}.{name}.safetensors" if stage else f"{name}.safetensors"
    return folder / "checkpoints" / file


class StageCheckpoints:
    """Weights and progress as one stage sees them.

    A stage never sees what a later stage left in the folder in an earlier run: a stage that runs
    again starts from where it started the first time.

    Args:
        ledger: What has finished in the run folder.
        registry: The installed components.
        stage: Key of the stage.
        before: Keys of the stages before it, in order.
    """

    def __init__(self, ledger: Ledger, registry: Registry, stage: str, before: tuple[str, ...]):
        self._ledger = ledger
        self._folder = ledger.folder
        self._registry = registry
        self._stage = stage
        self._before = before

    def save(
        self, name: str, component: Component, state: Mapping[str, torch.Tensor] | None = None
    ) -> None:
        """Save the weights ``name`` that this stage trained; call it on the first process only.

        Raises:
            FusionkitError: if a weight is NaN or infinite; nothing is written then.
        """
        tensors = None if state is None else dict(state)
        save_weights(component, weights_file(self._folder, name, self._stage), tensors)
        save_weights(component, weights_file(self._folder, name), tensors)

    def exists(self, name: str) -> bool:
        """Return whether a finished stage before this one produced the weights ``name``."""
        return self._producer(name) is not None

    def load(self, name: str) -> Any:
        """Rebuild what the last stage before this one saved as ``name``: on the CPU, in eval mode.

        Raises:
            FusionkitError: if no earlier stage produced it, or its file is missing or damaged.
        """
        producer = self._producer(name)
        if producer is None:
            raise FusionkitError(
                f"{self._stage or 'this'}: no stage before it has produced the weights {name!r}"
            )
        path = weights_file(self._folder, name, producer)
        if not path.is_file():
            raise FusionkitError(
                f"the stage {producer} is finished, but its file {path} is missing; restore it, or "
                f"add --restart to run that stage again"
            )
        return load_weights(path, self._registry)

    def save_progress(self, state: Mapping[str, Any]) -> None:
        """Save what this stage needs to resume: tensors and plain values.

        Raises:
            FusionkitError: if a tensor holds NaN or infinity; what was saved before stays.
        """
        _check_finite(dict(state), f"{self._stage}: the state to resume from", "not saved")
        with atomic_write(self.progress_file) as temporary:
            torch.save(dict(state), temporary)

    def load_progress(self) -> dict[str, Any] | None:
        """Return what this stage saved before it was interrupted, or None.

        A damaged file is kept under another name, and the stage starts from its beginning.

        Raises:
            FusionkitError: if a tensor holds NaN or infinity.
        """
        path = self.progress_file
        if not path.is_file():
            return None
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except OSError:
            raise
        except Exception as error:  # PyTorch has no error of its own for a damaged file
            reason = f"{type(error).__name__}: {str(error).partition('.')[0]}"
        else:
            if isinstance(state, dict):
                _check_finite(state, str(path), f"delete it to begin the stage {self._stage} again")
                return state
            reason = f"expected a dict, found {type(state).__name__}"
        set_aside(path, f"{reason}; the stage {self._stage} starts again")
        return None

    def clear_progress(self) -> None:
        """Remove what this stage saved to resume from."""
        self.progress_file.unlink(missing_ok=True)

    @property
    def progress_file(self) -> Path:
        """The file that ``save_progress`` writes."""
        return self._folder / "checkpoints" / f"{self._stage}.progress.pt"

    def _producer(self, name: str) -> str | None:
        finished = self._ledger.finished()
        for key in reversed(self._before):
            if key in finished and name in finished[key].artifacts:
                return key
        return None


def _check_finite(state: dict[str, Any], what: str, consequence: str) -> None:
    """Raise FusionkitError if a tensor of a state holds NaN or infinity."""
    if (place := first_nonfinite(state)) is not None:
        raise FusionkitError(
            f"{what}: expected finite numbers, found NaN or infinity in {place}; {consequence}"
        )
