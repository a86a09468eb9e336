"""The training step of EMMA: ours against the official one, and where the time goes.

``python -m benchmarks.speed training`` times steps in turn; ``python -m benchmarks.speed.training``
prints a profile by operation beside the limits of the machine. Both steps of "equal mathematics"
have the same weights, sources and shifts; the recipe's step has the settings of ``emma.yaml``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from benchmarks.speed import official_step
from benchmarks.speed.measurement import Row, Size, time_in_turn
from fusionkit.interfaces import Loss, TransformGroup
from fusionkit_emma.losses import Equivariance, Sensing
from fusionkit_emma.objective import Objective, freeze
from fusionkit_emma.transforms import Reflect, Rotate, Shift
from fusionkit_emma.ufuser import UFuser
from fusionkit_emma.unet import UNet

CHANNELS = (8, 16, 32, 32)
MODALITIES = ("infrared", "visible")
OFFICIAL = "official step"


class Steps:
    """An official step and ours, with the same weights and sources.

    Args:
        width: Channels of the sensors' finest level.
        channels: Channels of the fuser's scales.
        shape: Batch size, height and width.
        dtype: Type of all numbers.
        recipe: Whether our losses are those of the recipes: one transform, noise.
    """

    def __init__(
        self,
        width: int,
        shape: tuple[int, int, int],
        channels: tuple[int, ...] = CHANNELS,
        dtype: torch.dtype = torch.float32,
        recipe: bool = False,
    ):
        torch.manual_seed(0)
        batch, height, width_of_image = shape
        self.ours = UFuser(channels=channels).to(dtype).train()
        self.form = self.ours.training_form()
        self.plain = official_step.PlainUFuser(channels).to(dtype).train()
        self.plain.load_state_dict(self.ours.state_dict())
        self.sensors = [_sensor(width, dtype) for _ in MODALITIES]
        size = (batch, 1, height, width_of_image)
        self.sources = {name: torch.rand(size, dtype=dtype) for name in MODALITIES}
        (shifts,) = [Shift().sample(3, (height, width_of_image), _seeded())]
        self.shifts = [(shift.rows, shift.columns) for shift in shifts]
        self.objective = _objective(self.sensors, recipe)
        self._ours_optimizer = torch.optim.Adam(self.ours.parameters(), 1e-4)
        self._plain_optimizer = torch.optim.Adam(self.plain.parameters(), 1e-4)

    def our_loss(self) -> Tensor:
        """Return our objective."""
        fused = self.form(self.sources)
        terms = self.objective.terms(self.sources, fused, self.form, _seeded())
        return sum((t.weight * t.value for t in terms), start=fused.new_zeros(()))

    def official_loss(self) -> Tensor:
        """Return the official objective."""
        first, second = self.sensors
        infrared, visible = (self.sources[name] for name in MODALITIES)
        return official_step.loss(self.plain, (first, second), infrared, visible, self.shifts)

    def our_step(self) -> None:
        """Train for one batch."""
        _update(self.our_loss, self._ours_optimizer)

    def official_step(self) -> None:
        """Train for one batch as the official code does."""
        _update(self.official_loss, self._plain_optimizer)


def _sensor(width: int, dtype: torch.dtype) -> UNet:
    """Return a sensor in eval mode whose batch norms have seen something."""
    sensor = UNet(width=width).to(dtype).train()
    with torch.no_grad():
        for _ in range(20):  # the running statistics then fit the weights
            sensor(torch.rand(2, 1, 32, 32, dtype=dtype))
    return sensor.eval()


def _objective(sensors: list[UNet], recipe: bool) -> Objective:
    copies = [freeze(sensor) for sensor in sensors]
    losses: list[tuple[str, Loss, float]] = [
        ("sensing", Sensing(noise=0.03 if recipe else 0.0), 1.0),
        (
            "equivariance",
            Equivariance(elements=1, identity=False, noise=0.03) if recipe else Equivariance(),
            official_step.ALPHA,
        ),
    ]
    groups: list[tuple[TransformGroup, int]] = [(Shift(), 3), (Rotate(), 3), (Reflect(), 3)]
    return Objective(losses, dict(zip(MODALITIES, copies, strict=True)), groups)


def _seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _update(loss: Callable[[], Tensor], optimizer: torch.optim.Optimizer) -> None:
    total = loss()
    optimizer.zero_grad()
    total.backward()
    optimizer.step()


def measure(size: Size) -> list[Row]:
    rounds, shape = (1, (1, 32, 32)) if size == "small" else (3, (1, 64, 64))
    batch, height, width = shape
    rows = []
    for sensor in (8,) if size == "small" else (64, 16):
        steps = Steps(sensor, shape)
        forms = {"ours": steps.our_step, "official": steps.official_step}
        seconds = time_in_turn(forms, rounds)
        what = f"equal mathematics, sensors of width {sensor}, {batch} x {width}x{height}"
        rows.append(Row(what, seconds["ours"], "s", OFFICIAL, seconds["official"]))
    official = Steps(8 if size == "small" else 64, shape)
    recipe = Steps(8 if size == "small" else 16, (4 * batch, height, width), recipe=True)
    forms = {"ours": recipe.our_step, "official": official.official_step}
    seconds = time_in_turn(forms, rounds)
    ours, theirs = seconds["ours"] / (4 * batch), seconds["official"] / batch
    what = f"the recipes' settings, each pair of {width}x{height}"
    return [*rows, Row(what, ours, "s", f"{OFFICIAL}, sensors of width 64", theirs), *_limits()]


def _limits() -> list[Row]:
    """Return what the machine can do at best: a convolution and a copy."""
    x = torch.rand(4, 64, 64, 64).contiguous(memory_format=torch.channels_last)
    weight = torch.rand(64, 64, 3, 3).contiguous(memory_format=torch.channels_last)
    source = torch.rand(16 * 2**20)
    target = torch.empty_like(source)
    seconds = time_in_turn(
        {"conv": lambda: F.conv2d(x, weight, padding=1), "copy": lambda: target.copy_(source)}
    )
    flops = 2 * x.numel() * 64 * 9
    moved = 2 * source.numel() * source.element_size()  # read and written
    return [
        Row("limit: 3x3 convolution, 64 channels", flops / seconds["conv"] / 1e9, "GFLOP/s"),
        Row("limit: copy of 64 MiB", moved / seconds["copy"] / 1e9, "GB/s"),
    ]


def by_operation(step: Callable[[], None], rows: int) -> str:
    """Return the operations of a step that take most of the time, as a table."""
    step()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        step()
    events = profiler.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    longest = sorted(events, key=lambda event: -event.self_cpu_time_total)[:rows]
    lines = ["| operation | calls | share of the time |", "| --- | ---: | ---: |"]
    for event in longest:
        share = event.self_cpu_time_total / total
        lines.append(f"| {event.key} | {event.count} | {share:.1%} |")
    return "\n".join(lines)


def gradients_of(network: nn.Module) -> dict[str, Tensor]:
    """Return the gradients by the names of the weights; zeros where there is none."""
    return {
        name: torch.zeros_like(weight) if weight.grad is None else weight.grad
        for name, weight in network.named_parameters()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=16, help="channels of the sensors")
    parser.add_argument("--side", type=int, default=64, help="of the images, in pixels")
    parser.add_argument("--rows", type=int, default=15)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    side = arguments.side
    steps = {
        recipe: Steps(arguments.width, (4 if recipe else 1, side, side), recipe=recipe)
        for recipe in (False, True)
    }
    functions = {
        "official step": steps[False].official_step,
        "our step, equal mathematics": steps[False].our_step,
        "our step, the recipes' settings": steps[True].our_step,
    }
    for name, step in functions.items():
        print(f"## {name}\n\n{by_operation(step, arguments.rows)}\n")
    for row in _limits():
        print(row.what, *row.cells()[1:2])


if __name__ == "__main__":
    main()
