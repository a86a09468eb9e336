"""The epochs of a training: what both training stages share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from fusionkit.errors import FusionkitError
from fusionkit.functional.finiteness import first_nonfinite
from fusionkit.interfaces import RunContext
from fusionkit.progress import Progress, ProgressBar
from fusionkit_emma.batches import Batch, Batches
from fusionkit_emma.divergence import FiniteGuard, describe_samples, infinite_losses


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
        problem: What the validation found that is not finite; None if everything is finite.
    """

    def __init__(
        self,
        run: RunContext,
        batches: Batches,
        number: int,
        guard: FiniteGuard,
        progress: Progress,
    ):
        self.number = number
        self.step = number * len(batches)
        self.problem: str | None = None
        self._run = run
        self._batches = batches
        self._guard = guard
        self._progress = progress
        self._ids: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Batch]:
        for batch in self._batches.epoch(self.number):
            self._ids = batch.ids
            yield batch

    def finish_step(
        self, values: Mapping[str, float], lr: float, gradient_norm: Tensor | None = None
    ) -> None:
        """Count a batch after the optimizer's step; check and log its numbers.

        Args:
            values: The loss and its terms for the images of this process. Those of names that
                begin with ``rmse`` are root mean squares.
            lr: Learning rate of the step.
            gradient_norm: Norm of the gradient, if it was clipped.

        Raises:
            FusionkitError: if a loss, the gradient or a weight is NaN or infinite.
        """
        self.step += 1
        problem = self._guard.find_problem(values, gradient_norm)
        if problem is not None:
            problem = f"{describe_samples(self._ids)}: {problem}"
        if (problem := _problem_of_any_process(self._run, problem)) is not None:
            raise _divergence(self._run, self.number, f"step {self.step}, {problem}")
        values = _means_over_processes(self._run, values)
        self._run.log.write(self.step, {**values, "lr": lr})
        # The terms of the loss are for the log; a bar has no room for them.
        self._progress.step({k: v for k, v in values.items() if not k.startswith("loss/")})

    def log(self, values: Mapping[str, float]) -> None:
        """Log numbers of the epoch."""
        if values:
            self._run.log.write(self.step, values)

    def check_validation(self, sample: str, values: Mapping[str, float]) -> None:
        """Remember a loss of a held-out pair that is not finite; the epoch then ends in an error.

        Args:
            sample: Identifier of the pair.
            values: Its losses.
        """
        problem = infinite_losses(values)
        if problem is not None and self.problem is None:
            self.problem = f"{describe_samples([sample])}: {problem}"


def training_epochs(
    run: RunContext, title: str, batches: Batches, epochs: int, parts: Mapping[str, Stateful]
) -> Iterator[Epoch]:
    """Yield the epochs of a training; resume after the last one that was finished.

    After each epoch it saves the state of all parts. An interrupted training loads them and goes on
    as if it had not been interrupted. A state that holds NaN or infinity is never saved, so that
    the saved one stays that of the last good epoch.

    Args:
        run: The run.
        title: Title of the progress bar.
        batches: The training batches.
        epochs: Number of epochs.
        parts: Everything that changes during the training, by name; on the device already.

    Raises:
        FusionkitError: if a loss, a gradient, a weight or another part of the state is NaN or
            infinite.
    """
    done = _resume(run, parts, epochs)
    guard = FiniteGuard(
        {
            name: part
            for name, part in parts.items()
            # An average of finite weights is finite.
            if isinstance(part, nn.Module) and not isinstance(part, AveragedModel)
        },
        skips_steps=run.config.precision == "16-mixed",
    )
    steps = len(batches)
    with ProgressBar(title, epochs * steps, done * steps, run.is_first) as progress:
        for number in range(done, epochs):
            epoch = Epoch(run, batches, number, guard, progress)
            yield epoch
            states, problem = {}, None
            if run.is_first:
                states = {name: part.state_dict() for name, part in parts.items()}
                if epoch.problem is not None:
                    problem = f"validation after epoch {number + 1}, {epoch.problem}"
                elif (place := first_nonfinite(states)) is not None:
                    problem = f"end of epoch {number + 1}: {place} is NaN or infinite"
            if (problem := run.fabric.broadcast(problem)) is not None:
                raise _divergence(run, number, problem)
            if run.is_first:
                run.checkpoints.save_progress({**states, "epochs": number + 1})
            run.fabric.barrier()


def _resume(run: RunContext, parts: Mapping[str, Stateful], epochs: int) -> int:
    """Load the state of an interrupted training; return the number of its finished epochs.

    Raises:
        FusionkitError: if it is the state of another training, or a damaged one.
    """
    saved = run.checkpoints.load_progress()
    if saved is None:
        return 0
    done = saved.get("epochs")
    try:
        if type(done) is not int or not 0 <= done <= epochs:
            raise ValueError(f"expected 0 to {epochs} epochs, found {done!r}")
        for name, part in parts.items():
            part.load_state_dict(saved[name])
    except Exception as error:  # networks and optimizers have errors of many kinds
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise FusionkitError(
            f"{run.checkpoints.progress_file} does not fit the stage {run.stage} ({reason}); "
            f"delete it to begin the stage again"
        ) from error
    return done


def _problem_of_any_process(run: RunContext, problem: str | None) -> str | None:
    """Return the problem of one of the processes, so that none waits for one that has stopped."""
    fabric = run.fabric
    if fabric.world_size == 1:
        return problem
    rank = -1.0 if problem is None else float(fabric.global_rank)
    found = fabric.all_reduce(torch.tensor(rank, device=fabric.device), reduce_op="max")
    assert isinstance(found, Tensor)
    return None if found < 0 else fabric.broadcast(problem, src=int(found))


def _means_over_processes(run: RunContext, values: Mapping[str, float]) -> dict[str, float]:
    """Return the values of the whole batch, of which each process has an equal share."""
    if run.fabric.world_size == 1:
        return dict(values)
    powers = [2.0 if name.startswith("rmse") else 1.0 for name in values]
    powered = [value**power for value, power in zip(values.values(), powers, strict=True)]
    local = torch.tensor(powered, dtype=torch.float64, device=run.fabric.device)
    means = run.fabric.all_reduce(local, reduce_op="mean")
    assert isinstance(means, Tensor)
    found = zip(values, means.tolist(), powers, strict=True)
    return {name: mean ** (1 / power) for name, mean, power in found}


def _divergence(run: RunContext, epochs: int, problem: str) -> FusionkitError:
    """Return the error that ends a training.

    Args:
        run: The run.
        epochs: Number of epochs whose state is saved.
        problem: Step, samples, and what is not finite.
    """
    saved = (
        f"The last good checkpoint is that of epoch {epochs}, {run.checkpoints.progress_file}; the "
        f"same command resumes after it."
        if epochs
        else "No epoch of this stage has finished, so nothing of it is saved; the same command "
        "begins the stage again."
    )
    return FusionkitError(
        f"{run.stage}: {problem}; expected finite numbers. {saved} If it happens again, lower the "
        f"learning rate (`optimizer.lr`, `distill.lr`), set `clip: 1.0` in train-backbone, or "
        f"train in `precision: 32-true`, and add --restart."
    )
