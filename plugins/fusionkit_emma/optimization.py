"""Optimizer and learning-rate schedule by name, from timm's factories.

timm is imported where it is used: its import takes seconds, which only training is worth.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from torch.nn import Parameter
from torch.optim import Optimizer

from fusionkit.errors import FusionkitError, nearest

Schedule = Literal["step", "cosine", "constant"]


def make_optimizer(parameters: Iterable[Parameter], name: str, lr: float) -> Optimizer:
    """Return one of timm's optimizers, without weight decay.

    Raises:
        FusionkitError: for a name that timm does not know.
    """
    from timm.optim import create_optimizer_v2  # pyright: ignore[reportPrivateImportUsage]

    check_optimizer(name)
    return create_optimizer_v2(list(parameters), opt=name, lr=lr, weight_decay=0.0)


def check_optimizer(name: str) -> None:
    """Raise FusionkitError for a name that timm does not know."""
    from timm.optim import list_optimizers  # pyright: ignore[reportPrivateImportUsage]

    known = [str(known) for known in list_optimizers()]
    if name.lower() not in known:
        raise FusionkitError(
            f"timm knows no optimizer {name!r}"
            + (nearest(name, known) or f" (it knows: {', '.join(known)})")
        )


def make_scheduler(
    optimizer: Optimizer,
    schedule: Schedule,
    epochs: int,
    steps_per_epoch: int,
    decay_epochs: int,
    decay_rate: float,
    warmup_steps: int,
) -> Any:
    """Return one of timm's schedulers, to be told the number of each step (``step_update``).

    ``step`` multiplies the rate by ``decay_rate`` every ``decay_epochs``, as EMMA does; ``cosine``
    falls to a hundredth; both after a linear warm-up.
    """
    from timm.scheduler import (
        create_scheduler_v2,  # pyright: ignore[reportPrivateImportUsage]
    )

    lr = optimizer.param_groups[0]["lr"]
    total = max(1, epochs * steps_per_epoch)
    scheduler, _ = create_scheduler_v2(
        optimizer,
        sched="step" if schedule in ("step", "constant") else "cosine",
        num_epochs=epochs,
        # A constant rate is a step that never comes.
        decay_epochs=decay_epochs if schedule == "step" else 10 * (epochs + 1),
        decay_rate=decay_rate if schedule == "step" else 1.0,
        min_lr=lr / 100 if schedule == "cosine" else 0.0,
        # In fractions of an epoch, which timm multiplies out again.
        warmup_epochs=min(warmup_steps, total - 1) / max(1, steps_per_epoch),  # type: ignore[arg-type]
        warmup_lr=lr / 20,
        step_on_epochs=False,
        updates_per_epoch=steps_per_epoch,
    )
    return scheduler
