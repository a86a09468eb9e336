"""Optimizer, learning-rate schedule and average of the weights, as the training stages set them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Field
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from fusionkit.errors import FusionkitError, nearest
from fusionkit.interfaces import Settings

LearningRate = Annotated[float, Field(gt=0, le=1000)]
"""A learning rate; optimizers that scale each layer use up to about 50."""


class OptimizerSettings(Settings):
    """How the weights are updated.

    Attributes:
        name: Any optimizer of timm.
        lr: Learning rate.
    """

    name: str = "adam"
    lr: LearningRate = 1e-4


class ScheduleSettings(Settings):
    """How the learning rate changes during the training.

    Attributes:
        name: ``step`` multiplies the rate by ``factor`` after every ``every`` epochs, as EMMA does;
            ``cosine`` decreases it to a hundredth; ``constant`` keeps it.
        every: Epochs between two steps of ``step``.
        factor: Factor of each step of ``step``.
        warmup_steps: Batches at the beginning during which the rate rises linearly from a
            twentieth.
    """

    name: Literal["step", "cosine", "constant"] = "step"
    every: Annotated[int, Field(ge=1)] = 20
    factor: Annotated[float, Field(gt=0, le=1)] = 0.5
    warmup_steps: Annotated[int, Field(ge=0)] = 0

    def rate(self, lr: float, step: int, steps: int, epochs: int) -> float:
        """Return the learning rate of a batch.

        Args:
            lr: The highest rate.
            step: Number of the batch, from 0.
            steps: Batches per epoch.
            epochs: Number of epochs.

        Example:
            >>> schedule = ScheduleSettings(name="step", every=2, factor=0.5)
            >>> [schedule.rate(1.0, step, steps=3, epochs=4) for step in (0, 5, 6, 11)]
            [1.0, 1.0, 0.5, 0.5]
        """
        total = max(1, epochs * steps)
        warmup = min(self.warmup_steps, total - 1)
        if step < warmup:
            return lr / 20 + step * ((lr - lr / 20) / warmup)
        if self.name == "step":
            return lr * self.factor ** (step // (self.every * steps))
        if self.name == "cosine":
            lowest = lr / 100
            return lowest + 0.5 * (lr - lowest) * (1 + math.cos(math.pi * min(1, step / total)))
        return lr


def _keep(value: Any) -> Any:
    """Translate the values that ``keep`` had before it moved into this group, for one release."""
    return value == "average" if value in ("average", "last") else value


class AverageSettings(Settings):
    """An exponential moving average of the weights.

    Attributes:
        decay: Decay per step, 0 for no average. The first steps decay faster, by
            (1 + step) / (10 + step), so that the average forgets the initial weights.
        keep: Whether the average becomes the result instead of the last weights.
    """

    decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    keep: Annotated[bool, BeforeValidator(_keep)] = False


def build_optimizer(parameters: Iterable[nn.Parameter], settings: OptimizerSettings) -> Optimizer:
    """Return one of timm's optimizers, without weight decay.

    Raises:
        FusionkitError: for a name that timm does not know.

    Example:
        >>> build_optimizer([nn.Parameter(torch.zeros(1))], OptimizerSettings()).__class__.__name__
        'Adam'
    """
    # Importing timm takes seconds, and only training needs it.
    from timm.optim import create_optimizer_v2  # pyright: ignore[reportPrivateImportUsage]

    check_optimizer(settings.name)
    return create_optimizer_v2(
        list(parameters), opt=settings.name, lr=settings.lr, weight_decay=0.0
    )


def check_optimizer(name: str) -> None:
    """Raise FusionkitError for a name that timm does not know."""
    from timm.optim import list_optimizers  # pyright: ignore[reportPrivateImportUsage]

    known = [str(known) for known in list_optimizers()]
    if name.lower() not in known:
        raise FusionkitError(
            f"optimizer: timm has no optimizer {name!r}"
            + (nearest(name, known) or f" (it has: {', '.join(known)})")
        )


def build_scheduler(optimizer: Optimizer, rate: Callable[[int], float]) -> LambdaLR:
    """Return a scheduler that sets the learning rate of each step; call its ``step`` once a batch.

    Args:
        optimizer: Its own rate is replaced.
        rate: Number of a step, from 0 -> learning rate.

    Example:
        >>> optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
        >>> scheduler = build_scheduler(optimizer, lambda step: 0.5 / (1 + step))
        >>> optimizer.step(); scheduler.step()
        >>> scheduler.get_last_lr()
        [0.25]
    """
    for group in optimizer.param_groups:
        group["lr"] = 1.0  # LambdaLR multiplies it by the function
    return LambdaLR(optimizer, rate)


class MovingAverage(AveragedModel):
    """An exponential moving average of the weights and buffers of a module.

    The average of its base class asks the device for the number of steps, once for each type of
    tensor and step, which the CPU then waits for. This one counts on the CPU.

    Args:
        module: The module to average.
        decay: Decay per step, reached after the faster decay of the first steps.
    """

    def __init__(self, module: nn.Module, decay: float):
        super().__init__(module)
        self._decay = decay

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Take the present weights into the average; the first time, copy them."""
        step = int(self.n_averaged)
        for average, value in zip(_tensors(self.module), _tensors(model), strict=True):
            if step and average.is_floating_point():
                average.lerp_(value, 1 - decay_at(step, self._decay))
            else:
                average.copy_(value)
        self.n_averaged += 1


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


def build_average(module: nn.Module, decay: float) -> MovingAverage:
    """Return a moving average of the weights that starts at the present ones.

    Args:
        module: The module to average; call ``update_parameters(module)`` after each step.
        decay: Decay per step, reached after the faster decay of the first steps.

    Example:
        >>> module = nn.Linear(1, 1)
        >>> average = build_average(module, decay=0.9)
        >>> average.update_parameters(module)
        >>> torch.equal(average.module.weight, module.weight)
        True
    """
    average = MovingAverage(module, decay)
    average.update_parameters(module)
    return average


def decay_at(step: int, decay: float) -> float:
    """Return the decay of a moving average at a step, counted from 1: less at first.

    Example:
        >>> decay_at(1, 0.998), decay_at(10_000, 0.998)
        (0.18181818181818182, 0.998)
    """
    return min(decay, (1 + step) / (10 + step))
