"""Stage ``train-sensors``: pseudo-sensors learn to predict each source from fused images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from fusionkit.errors import FusionkitError
from fusionkit.functional.padding import pad_to_multiple
from fusionkit.interfaces import Backbone, BatchShare, RunContext, Stage
from fusionkit_emma.batch_norms import share_batch_norms
from fusionkit_emma.batches import Batches, build_teachers, random_mixtures
from fusionkit_emma.checkpointing import checkpoint_activations
from fusionkit_emma.compilation import Compiler
from fusionkit_emma.epochs import Epoch, training_epochs
from fusionkit_emma.losses import add_noise
from fusionkit_emma.optimization import (
    OptimizerSettings,
    ScheduleSettings,
    build_optimizer,
    build_scheduler,
    check_optimizer,
)
from fusionkit_emma.patch_size import check_patch_size
from fusionkit_emma.transfer import send

OPTIMIZER = OptimizerSettings()
SCHEDULE = ScheduleSettings(every=10)


class TrainSensors(Stage):
    """Train one pseudo-sensor per modality on the teachers' images.

    The loss is the mean squared error between A_m(teacher's image) and source m, where A_m is the
    sensor of modality m. The defaults are the paper's schedule. With ``teacher: self`` the images
    come from the moving average of the run's own backbone; before it exists, from random mixtures
    of the sources. A second stage of this kind continues with the weights of the first.

    Args:
        epochs: Passes over the training patches.
        batch_size: Pairs per step, of all processes together.
        optimizer: ``name``, any optimizer of timm, and ``lr``, the learning rate.
        schedule: How the rate changes: ``name`` is ``step`` (times ``factor`` after every ``every``
            epochs), ``cosine`` (down to a hundredth) or ``constant``; during the first
            ``warmup_steps`` batches it rises linearly.
        crop: Side in pixels of a window drawn from each patch each time; None for whole patches.
        augment: Whether to apply one of eight reflections and quarter turns, drawn for each pair.
        blend: Whether to learn from random blends of the teachers instead of one of them at a time.
        noise: Largest standard deviation of the Gaussian noise on the sensors' input, in units of
            the [0, 1] range; each image draws its own. A sensor trained on noise does not read
            faint marks.
        val_pairs: Number of held-out pairs to validate on after each epoch.
    """

    name = "train-sensors"
    ignores = ("test", "losses", "transforms", "backbone")
    renamed_arguments: ClassVar = {
        "optimizer": "optimizer.name",
        "lr": "optimizer.lr",
        "schedule": "schedule.name",
        "decay_epochs": "schedule.every",
        "decay_rate": "schedule.factor",
        "warmup_steps": "schedule.warmup_steps",
    }

    def __init__(
        self,
        epochs: Annotated[int, Field(ge=1)] = 40,
        batch_size: Annotated[int, Field(ge=1)] = 64,
        optimizer: OptimizerSettings = OPTIMIZER,
        schedule: ScheduleSettings = SCHEDULE,
        crop: Annotated[int, Field(ge=16)] | None = None,
        augment: bool = False,
        blend: bool = False,
        noise: Annotated[float, Field(ge=0, le=1)] = 0.0,
        val_pairs: Annotated[int, Field(ge=0)] = 8,
    ):
        check_optimizer(optimizer.name)
        self.epochs, self.batch_size = epochs, batch_size
        self.optimizer, self.schedule = optimizer, schedule
        self.crop, self.augment, self.blend, self.noise = crop, augment, blend, noise
        self.val_pairs = val_pairs

    def produces(self, run: RunContext) -> tuple[str, ...]:
        """Return the weights of each sensor."""
        return tuple(f"sensor-{modality}" for modality in run.config.modalities)

    def check(self, run: RunContext) -> None:
        """Check that sensors and teachers are configured, and the size of the patches."""
        if not run.config.sensors:
            raise FusionkitError("needs `sensors`, one per modality; the configuration has none")
        if not run.config.teacher:
            raise FusionkitError(
                "needs a `teacher` whose fused images the sensors learn from: a list of backbones "
                "(- {name: laplacian-pyramid}), or `self`"
            )
        for modality, sensor in run.components.build_sensors().items():
            check_patch_size(run, self.crop, sensor.stride, f"the sensor for {modality}")

    def run(self, run: RunContext) -> None:
        """Train all sensors side by side, each on its own loss."""
        fabric = run.fabric
        sensors = torch.nn.ModuleDict(run.current_sensors())
        teachers = build_teachers(run)
        batches = Batches(
            run,
            self.batch_size,
            teachers,
            crop=self.crop,
            augment=self.augment,
            blend=self.blend,
        )
        optimizer = build_optimizer(sensors.parameters(), self.optimizer)
        scheduler = build_scheduler(
            optimizer,
            lambda step: self.schedule.rate(self.optimizer.lr, step, len(batches), self.epochs),
        )
        module = share_batch_norms(_AllSensors(sensors), fabric)
        if run.config.activation_checkpointing:
            for sensor in sensors.values():
                checkpoint_activations(sensor)
        compiler = Compiler(run)
        compiler.compile(module)
        module, optimizer = fabric.setup(module, optimizer)
        parts = {"sensors": sensors, "optimizer": optimizer, "scheduler": scheduler}
        generator = torch.Generator()
        for epoch in training_epochs(run, "sensors", batches, self.epochs, parts, compiler):
            sensors.train()
            generator.manual_seed(run.seeds.seed_for("0", "noise", str(epoch.number)))
            for batch in epoch:
                assert batch.teacher is not None
                sensed = module(self._with_noise(batch.teacher, generator, batches.share))
                errors = {m: F.mse_loss(sensed[m], batch.sources[m]) for m in sensed}
                optimizer.zero_grad()
                fabric.backward(torch.stack(list(errors.values())).sum())
                optimizer.step()
                epoch.finish_step(
                    {f"rmse/{m}": error for m, error in errors.items()},
                    lr=float(scheduler.get_last_lr()[0]),
                )
                scheduler.step()
            if run.is_first:
                epoch.log(self._validate(run, epoch, sensors, teachers))
        if run.is_first:
            for modality, sensor in sensors.items():
                run.checkpoints.save(f"sensor-{modality}", sensor)  # type: ignore[arg-type]

    def _with_noise(self, fused: Tensor, generator: torch.Generator, share: BatchShare) -> Tensor:
        """Add Gaussian noise; each image draws its own standard deviation."""
        images = len(fused) * share.processes
        levels = share.of(torch.rand(images, 1, 1, 1, generator=generator))
        noise = add_noise(torch.zeros_like(fused), self.noise, generator, share)
        return fused + send(levels.to(noise.dtype), noise.device) * noise

    @torch.no_grad()
    def _validate(
        self,
        run: RunContext,
        epoch: Epoch,
        sensors: torch.nn.ModuleDict,
        teachers: Sequence[Backbone],
    ) -> dict[str, float]:
        """Return the RMSE of each sensor on whole held-out images."""
        indices = list(run.components.data.splits()["val"])[: self.val_pairs]
        generator = torch.Generator().manual_seed(run.seeds.seed_for("val"))
        errors: dict[str, list[float]] = {m: [] for m in run.config.modalities}
        sensors.eval()
        for index in indices:
            sample = run.components.data[index]
            if teachers:
                images = [teacher.fuse(sample).cpu() for teacher in teachers]
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
                    error = F.mse_loss(sensor(padded), target).item()
                    epoch.check_validation(sample.id, {f"val/rmse/{modality}": error})
                    errors[modality].append(error)
        if epoch.problem is not None:
            return {}
        return {
            f"val/rmse/{m}": math.sqrt(sum(found) / len(found))
            for m, found in errors.items()
            if found
        }


class _AllSensors(torch.nn.Module):
    """All sensors as one module, so that one wrapper synchronises their gradients."""

    def __init__(self, sensors: torch.nn.ModuleDict):
        super().__init__()
        self.sensors = sensors

    def forward(self, fused: Tensor) -> dict[str, Tensor]:
        return {name: sensor(fused) for name, sensor in self.sensors.items()}
