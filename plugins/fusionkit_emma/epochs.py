"""The epochs of a training: what both training stages share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from fusionkit.interfaces import RunContext
from fusionkit.progress import Progress, ProgressBar
from fusionkit_emma.batches import Batch, Batches


class Stateful(Protocol):
    """A network, an optimizer, a scheduler: an object that is saved and loaded by its state."""

    def state_dict(self) -> Any:
        """Return the state."""
        ...

    def load_state_dict(self, state_dict: Any) -> Any:
        """Restore a state."""
        ...


class Epoch:
    """One pass over the training patches; iterate over it to get the batches.

    Attributes:
        number: Number of the epoch, from 0.
        step: Number of batches that the training has finished, those of earlier epochs included.
    """

    def __init__(self, run: RunContext, batches: Batches, number: int, progress: Progress):
        self.number = number
        self.step = number * len(batches)
        self._run = run
        self._batches = batches
        self._progress = progress

    def __iter__(self) -> Iterator[Batch]:
        return self._batches.epoch(self.number)

    def finish_step(self, values: Mapping[str, float], lr: float) -> None:
        """Count a batch; log its losses and learning rate."""
        self.step += 1
        self._run.log.write(self.step, {**values, "lr": lr})
        # The terms of the loss are for the log; a bar has no room for them.
        self._progress.step({k: v for k, v in values.items() if not k.startswith("loss/")})

    def log(self, values: Mapping[str, float]) -> None:
        """Log numbers of the epoch."""
        if values:
            self._run.log.write(self.step, values)


def training_epochs(
    run: RunContext, title: str, batches: Batches, epochs: int, parts: Mapping[str, Stateful]
) -> Iterator[Epoch]:
    """Yield the epochs of a training; resume after the last one that was finished.

    After each epoch it saves the state of all parts. An interrupted training loads them and goes on
    as if it had not been interrupted.

    Args:
        run: The run.
        title: Title of the progress bar.
        batches: The training batches.
        epochs: Number of epochs.
        parts: Everything that changes during the training, by name; on the device already.
    """
    done = 0
    if (saved := run.checkpoints.load_progress()) is not None:
        for name, part in parts.items():
            part.load_state_dict(saved[name])
        done = saved["epochs"]
    steps = len(batches)
    with ProgressBar(title, epochs * steps, done * steps, run.is_first) as progress:
        for number in range(done, epochs):
            yield Epoch(run, batches, number, progress)
            if run.is_first:
                states = {name: part.state_dict() for name, part in parts.items()}
                run.checkpoints.save_progress({**states, "epochs": number + 1})
            run.fabric.barrier()
