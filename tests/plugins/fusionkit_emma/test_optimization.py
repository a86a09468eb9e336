"""Learning rates against their formulas, and the moving average of the weights."""

from __future__ import annotations

import math

import pytest
import torch
from torch.optim import Adam

from fusionkit.errors import FusionkitError
from fusionkit_emma.optimization import (
    OptimizerSettings,
    ScheduleSettings,
    build_average,
    build_optimizer,
    build_scheduler,
    decay_at,
)


def parameter():
    return torch.nn.Parameter(torch.zeros(1))


def rates(schedule: ScheduleSettings, lr: float, steps: int, epochs: int) -> list[float]:
    """Return the rates that the optimizer really has."""
    optimizer = build_optimizer([parameter()], OptimizerSettings(lr=lr))
    scheduler = build_scheduler(optimizer, lambda step: schedule.rate(lr, step, steps, epochs))
    found = []
    for _ in range(steps * epochs):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def formula(name: str, step: int, total: int, period: int, warmup: int) -> float:
    """Return the rate as a fraction of the highest, as timm's schedulers have it."""
    if step < warmup:
        return 0.05 + 0.95 * step / warmup
    if name == "step":
        return 0.3 ** (step // period)
    if name == "cosine":
        return 0.01 + 0.99 * (1 + math.cos(math.pi * step / total)) / 2
    return 1.0


@pytest.mark.parametrize("warmup", [0, 7, 20])
@pytest.mark.parametrize("name", ["step", "cosine", "constant"])
def test_rates_follow_the_formulas(name, warmup):
    schedule = ScheduleSettings(name=name, every=2, factor=0.3, warmup_steps=warmup)
    expected = [2e-3 * formula(name, step, 60, 24, warmup) for step in range(60)]
    assert rates(schedule, lr=2e-3, steps=12, epochs=5) == pytest.approx(expected, rel=1e-12)


def test_a_warm_up_longer_than_the_training_ends_with_it():
    schedule = ScheduleSettings(name="constant", warmup_steps=100)
    expected = [0.05 + 0.95 * step / 9 for step in range(9)] + [1.0]
    assert rates(schedule, lr=1.0, steps=5, epochs=2) == pytest.approx(expected)


def test_the_step_schedule_is_that_of_the_paper():
    """StepLR(20, 0.5) per epoch, which the official code uses."""
    official = Adam([parameter()], 1e-4)
    reference = torch.optim.lr_scheduler.StepLR(official, 20, 0.5)
    expected = []
    for _ in range(120):
        expected += [official.param_groups[0]["lr"]] * 3
        official.step()
        reference.step()
    schedule = ScheduleSettings(name="step", every=20, factor=0.5)
    assert rates(schedule, lr=1e-4, steps=3, epochs=120) == pytest.approx(expected)
    assert type(build_optimizer([parameter()], OptimizerSettings())) is Adam


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(FusionkitError, match=r"'adm'.*'adam'"):
        build_optimizer([parameter()], OptimizerSettings(name="adm"))


def test_the_average_is_that_of_the_formula():
    module = torch.nn.BatchNorm1d(1)
    expected = module.weight.item()
    average = build_average(module, decay=0.3)
    for step in range(1, 6):
        module.weight.data.fill_(float(step))
        assert module.num_batches_tracked is not None
        module.num_batches_tracked += 1
        average.update_parameters(module)
        decay = min(0.3, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    assert average.module.weight.item() == pytest.approx(expected)
    assert average.module.num_batches_tracked == 5


def test_the_first_steps_of_the_average_forget_the_initial_weights():
    module = torch.nn.Linear(1, 1, bias=False)
    module.weight.data.fill_(100.0)
    average = build_average(module, decay=0.999)
    for _ in range(100):
        module.weight.data.fill_(1.0)
        average.update_parameters(module)
    assert average.module.weight.item() < 1.1
    assert decay_at(10_000, 0.998) == 0.998
