"""Stage ``train-sensors``: pseudo-sensors learn to see each source in the teachers' images."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch.nn import functional as F

from fusionkit.errors import FusionkitError
from fusionkit.functional.padding import pad_to_multiple
from fusionkit.interfaces import RunContext, Stage
from fusionkit.progress import ProgressBar
from fusionkit_emma.batches import Batches, moving_average, random_mixtures
from fusionkit_emma.losses import add_noise
from fusionkit_emma.optimization import Schedule, check_optimizer, make_optimizer, make_scheduler
from fusionkit_emma.sides import check_side


class TrainSensors(Stage):
    """Train one pseudo-sensor per modality: MSE between A_m(teacher's image) and source m.

    The defaults are the paper's schedule. With ``teacher: self`` the images come from the moving
    average of the run's own backbone, or, before there is one, from random mixtures of the
    sources. A second stage of this kind goes on with the weights of the first.

    Args:
        epochs: Passes over the training patches.
        batch_size: Pairs per step, over all processes.
        lr: Learning rate.
        optimizer: Any of timm's.
        schedule: ``step`` (times ``decay_rate`` every ``decay_epochs``), ``cosine``, ``constant``.
        decay_epochs: See ``schedule``.
        decay_rate: See ``schedule``.
        warmup_steps: Steps of linear warm-up.
        crop: Side of a window drawn from each patch each time; the whole patch if left out.
        augment: Draw one of eight reflections and quarter turns for each pair.
        blend: Learn from random blends of the teachers, not from one of them at a time.
        noise: Standard deviation, at most, of Gaussian noise added to the sensors' input; each
            image draws its own. A sensor that has seen noise does not read faint marks.
        val_pairs: Held-out pairs to validate on after each epoch.
    """

    name = "train-sensors"
    ignores = ("test", "losses", "transforms", "backbone")

    def __init__(
        self,
        epochs: Annotated[int, Field(ge=1)] = 40,
        batch_size: Annotated[int, Field(ge=1)] = 64,
        lr: Annotated[float, Field(gt=0)] = 1e-4,
        optimizer: str = "adam",
        schedule: Schedule = "step",
        decay_epochs: Annotated[int, Field(ge=1)] = 10,
        decay_rate: Annotated[float, Field(gt=0, le=1)] = 0.5,
        warmup_steps: Annotated[int, Field(ge=0)] = 0,
        crop: Annotated[int, Field(ge=16)] | None = None,
        augment: bool = False,
        blend: bool = False,
        noise: Annotated[float, Field(ge=0, le=1)] = 0.0,
        val_pairs: Annotated[int, Field(ge=0)] = 8,
    ):
        check_optimizer(optimizer)
        self.epochs, self.batch_size, self.lr = epochs, batch_size, lr
        self.optimizer = optimizer
        self.schedule: Schedule = schedule
        self.decay_epochs, self.decay_rate, self.warmup_steps = (
            decay_epochs,
            decay_rate,
            warmup_steps,
        )
        self.crop, self.augment, self.blend, self.noise = crop, augment, blend, noise
        self.val_pairs = val_pairs

    def produces(self, run: RunContext) -> tuple[str, ...]:
        """The weights of each sensor."""
        return tuple(f"sensor-{modality}" for modality in run.config.modalities)

    def check(self, run: RunContext) -> None:
        """Sensors and something to learn from must be configured."""
        if not run.config.sensors:
            raise FusionkitError("needs `sensors`, one per modality; there are none")
        if not run.config.teacher:
            raise FusionkitError(
                "needs a `teacher` whose fused images the sensors learn from: a list of backbones "
                "(- {name: laplacian-pyramid}), or `self`"
            )
        for modality, sensor in run.components.build_sensors().items():
            check_side(run, self.crop, sensor.stride, f"the sensor for {modality}")

    def run(self, run: RunContext) -> None:
        """Train all sensors side by side, each on its own loss."""
        fabric = run.fabric
        sensors = torch.nn.ModuleDict(run.current_sensors())
        teacher = moving_average(run)
        batches = Batches(
            run,
            self.batch_size,
            self.crop,
            self.augment,
            self.blend,
            teachers=None if teacher is None else [teacher],
        )
        optimizer = make_optimizer(sensors.parameters(), self.optimizer, self.lr)
        scheduler = make_scheduler(
            optimizer,
            self.schedule,
            self.epochs,
            len(batches),
            self.decay_epochs,
            self.decay_rate,
            self.warmup_steps,
        )
        first = 0
        if (saved := run.checkpoints.load_progress()) is not None:
            sensors.load_state_dict(saved["sensors"])
            first = saved["epoch"]
        together, optimizer = fabric.setup(_Together(sensors), optimizer)
        if saved is not None:  # now that the weights are where the optimizer's state must be
            optimizer.load_state_dict(saved["optimizer"])
        generator = run.seeds.generator("noise")
        step = first * len(batches)
        with ProgressBar("sensors", self.epochs * len(batches), step, run.is_first) as bar:
            for epoch in range(first, self.epochs):
                sensors.train()
                generator.manual_seed(
                    run.seeds.seed_for(str(fabric.global_rank), "noise", str(epoch))
                )
                for batch in batches.epoch(epoch):
                    scheduler.step_update(step)
                    assert batch.teacher is not None
                    levels = torch.rand(len(batch.teacher), 1, 1, 1, generator=generator)
                    noise = add_noise(torch.zeros_like(batch.teacher), self.noise, generator)
                    sensed = together(batch.teacher + levels.to(noise) * noise)
                    errors = {m: F.mse_loss(sensed[m], batch.sources[m]) for m in sensed}
                    optimizer.zero_grad()
                    fabric.backward(sum(errors.values(), start=torch.zeros(())))
                    optimizer.step()
                    step += 1
                    values = {f"rmse/{m}": math.sqrt(e.item()) for m, e in errors.items()}
                    run.log.write(step, {**values, "lr": optimizer.param_groups[0]["lr"]})
                    bar.step(values)
                if run.is_first:
                    if validated := self._validate(run, sensors, teacher):
                        run.log.write(step, validated)
                    run.checkpoints.save_progress(
                        {
                            "sensors": sensors.state_dict(),
                            "optimizer": optimizer.state_dict(),
                            "epoch": epoch + 1,
                        }
                    )
                fabric.barrier()
        if run.is_first:
            for modality, sensor in sensors.items():
                run.checkpoints.save(f"sensor-{modality}", sensor)  # type: ignore[arg-type]

    @torch.no_grad()
    def _validate(
        self, run: RunContext, sensors: torch.nn.ModuleDict, teacher: torch.nn.Module | None
    ) -> dict[str, float]:
        """Return the RMSE of each sensor on held-out pairs, whole images."""
        indices = list(run.components.data.splits()["val"])[: self.val_pairs]
        teachers = run.components.build_teachers() if teacher is None else [teacher]
        generator = torch.Generator().manual_seed(run.seeds.seed_for("val"))
        errors: dict[str, list[float]] = {m: [] for m in run.config.modalities}
        sensors.eval()
        for index in indices:
            sample = run.components.data[index]
            if teachers:
                images = [t.fuse(sample) for t in teachers]  # type: ignore[operator]
            else:
                stacked = torch.cat([sample.images[m] for m in run.config.modalities])[None]
                images = [random_mixtures(stacked, generator)[0]]
            for modality in errors:
                sensor = sensors[modality]
                for image in images:
                    padded = pad_to_multiple(image[None].to(run.fabric.device), sensor.stride)  # type: ignore[arg-type]
                    target = pad_to_multiple(
                        sample.images[modality][None].to(run.fabric.device),
                        sensor.stride,  # type: ignore[arg-type]
                    )
                    errors[modality].append(F.mse_loss(sensor(padded), target).item())
        return {
            f"val/rmse/{m}": math.sqrt(sum(found) / len(found))
            for m, found in errors.items()
            if found
        }


class _Together(torch.nn.Module):
    """All sensors as one module, so that one wrapper synchronises their gradients."""

    def __init__(self, sensors: torch.nn.ModuleDict):
        super().__init__()
        self.sensors = sensors

    def forward(self, fused: torch.Tensor) -> dict[str, torch.Tensor]:
        return {name: sensor(fused) for name, sensor in self.sensors.items()}
