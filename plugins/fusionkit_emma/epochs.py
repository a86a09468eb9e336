"""The epochs of a training: what both training stages share."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from fusionkit.errors import FusionkitError
from fusionkit.functional.finiteness import first_nonfinite
from fusionkit.interfaces import RunContext
from fusionkit.progress import Progress, ProgressBar
from fusionkit_emma.batches import Batch, Batches
from fusionkit_emma.compilation import Compiler
from fusionkit_emma.divergence import FiniteGuard, describe_samples, infinite_losses

logger = logging.getLogger("fusionkit")


class Stateful(Protocol):
    """A network, an optimizer, a scheduler: an object that is saved and loaded by its state."""

    def state_dict(self) -> Any:
        """Return the state."""
        ...

    def load_state_dict(self, state_dict: Any) -> Any:
        """Restore a state."""
        ...


READ_EVERY = 20
"""Steps on a GPU after which their numbers are read, checked and logged together."""


@dataclass(frozen=True)
class _FinishedStep:
    """A step whose numbers may still be on the device.

    Attributes:
        number: Number of the step, from 1.
        ids: Samples of the batch.
        lr: Learning rate.
        losses: Names of the losses.
        measured: What the guard measured beside them.
        numbers: The values of both, (losses + measured).
    """

    number: int
    ids: tuple[str, ...]
    lr: float
    losses: tuple[str, ...]
    measured: tuple[str, ...]
    numbers: Tensor


class Epoch:
    """One pass over the training patches; iterate over it to get the batches.

    On a CPU the numbers of a step are checked and logged after it. On other devices they stay there
    and are read every ``READ_EVERY`` steps and at the end of the epoch, so that the CPU goes on
    while the device works. Nothing is saved before all of them have been checked.

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
        self._unread: list[_FinishedStep] = []
        self._read_every = 1 if run.fabric.device.type == "cpu" else READ_EVERY

    def __iter__(self) -> Iterator[Batch]:
        for batch in self._batches.epoch(self.number):
            self._ids = batch.ids
            yield batch
        self._read()

    def finish_step(
        self, losses: Mapping[str, Tensor], lr: float, gradient_norm: Tensor | None = None
    ) -> None:
        """Count a batch after the optimizer's step; check and log its numbers, now or later.

        Args:
            losses: The loss and its terms for the images of this process, scalars. Those of names
                that begin with ``rmse`` are mean squares, whose root is logged.
            lr: Learning rate of the step.
            gradient_norm: Norm of the gradient, if it was clipped.

        Raises:
            FusionkitError: if a loss, the gradient or a weight is NaN or infinite, in this step or
                in one that had not been read.
        """
        self.step += 1
        measured = self._guard.measure(gradient_norm)
        numbers = torch.stack([value.detach() for value in (*losses.values(), *measured.values())])
        self._unread.append(
            _FinishedStep(self.step, self._ids, lr, tuple(losses), tuple(measured), numbers)
        )
        if len(self._unread) == self._read_every:
            self._read()

    def _read(self) -> None:
        """Check and log the steps that have not been read; wait for the device to finish them."""
        steps, self._unread = self._unread, []
        if not steps:
            return
        numbers = torch.cat([step.numbers for step in steps])
        values = numbers.cpu().tolist()
        means = values
        if self._run.fabric.world_size > 1:
            means = _mean_over_processes(self._run, numbers).cpu().tolist()
        end, problem = 0, None
        logged: list[tuple[_FinishedStep, dict[str, float]]] = []
        for step in steps:
            start, end = end, end + len(step.numbers)
            logged.append((step, _losses(step, means[start:end])))
            measured = dict(zip(step.measured, values[start + len(step.losses) : end], strict=True))
            problem = self._guard.find_problem(_losses(step, values[start:end]), measured)
            if problem is not None:
                problem = f"{describe_samples(step.ids)}: {problem}"
                break
        found = _first_problem_of_processes(self._run, len(logged), problem)
        good = len(logged) if found is None else found[0] - 1
        for step, losses in logged[:good]:
            self._run.log.write(step.number, {**losses, "lr": step.lr})
            # The terms of the loss are for the log; a bar has no room for them.
            self._progress.step({k: v for k, v in losses.items() if not k.startswith("loss/")})
        if found is not None:
            step = steps[good]
            raise _divergence(self._run, self.number, f"step {step.number}, {found[1]}")

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
    run: RunContext,
    title: str,
    batches: Batches,
    epochs: int,
    parts: Mapping[str, Stateful],
    compiler: Compiler,
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
        compiler: What compiles the networks; the time that it takes is logged.

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
    bar = ProgressBar(title, epochs * steps, done * steps, run.is_first)
    with compiler.measured(), bar as progress:
        for number in range(done, epochs):
            epoch = Epoch(run, batches, number, guard, progress)
            yield epoch
            if compiler.seconds:
                logger.info("%s: compiling took %.0f s", run.stage, compiler.seconds)
                epoch.log({"compile_seconds": compiler.seconds})
                compiler.seconds = 0.0
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


def _losses(step: _FinishedStep, numbers: Sequence[float]) -> dict[str, float]:
    """Return the losses of a step for the log: roots of those that are mean squares."""
    losses = zip(step.losses, numbers, strict=False)  # what was measured follows them
    return {name: math.sqrt(x) if name.startswith("rmse") else x for name, x in losses}


def _first_problem_of_processes(
    run: RunContext, step: int, problem: str | None
) -> tuple[int, str] | None:
    """Return the first problem of any process, so that none waits for one that has stopped.

    Args:
        run: The run.
        step: Which of the steps that are read at once has the problem, from 1.
        problem: The problem of this process.

    Returns:
        The step and the problem; None if no process has one.
    """
    fabric = run.fabric
    if fabric.world_size == 1:
        return None if problem is None else (step, problem)
    # A number that is the smaller, the earlier the step is.
    ranks = fabric.world_size
    place = math.inf if problem is None else float(step * ranks + fabric.global_rank)
    first = fabric.all_reduce(torch.tensor(-place, device=fabric.device), reduce_op="max")
    assert isinstance(first, Tensor)
    if math.isinf(place := -float(first)):
        return None
    step, rank = divmod(int(place), ranks)
    return step, fabric.broadcast(problem or "", src=rank)


def _mean_over_processes(run: RunContext, numbers: Tensor) -> Tensor:
    """Return the numbers of the whole batch, of which each process has an equal share."""
    means = run.fabric.all_reduce(numbers.double(), reduce_op="mean")
    assert isinstance(means, Tensor)
    return means


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
