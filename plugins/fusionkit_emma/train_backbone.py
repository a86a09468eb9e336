"""Stage ``train-backbone``: the fusion network learns under the losses of the configuration."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, cast

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from fusionkit.errors import FusionkitError
from fusionkit.functional.collapse import shares
from fusionkit.functional.padding import pad_to_multiple
from fusionkit.interfaces import Backbone, Distance, RunContext, Settings, Stage
from fusionkit_emma.batch_norms import share_batch_norms
from fusionkit_emma.batches import Batches, build_teachers
from fusionkit_emma.compilation import Compiler
from fusionkit_emma.distances import L1Sobel
from fusionkit_emma.epochs import Epoch, training_epochs
from fusionkit_emma.objective import Objective, Term, build_objective
from fusionkit_emma.optimization import (
    AverageSettings,
    LearningRate,
    OptimizerSettings,
    ScheduleSettings,
    build_average,
    build_optimizer,
    build_scheduler,
    check_optimizer,
)
from fusionkit_emma.patch_size import check_patch_size
from fusionkit_emma.samples import save_samples


class DistillSettings(Settings):
    """What the backbone learns from the teacher's images.

    Attributes:
        epochs: Epochs before the training under the losses, in which the backbone only learns to
            reproduce the teacher's images.
        lr: Learning rate of these epochs; it falls to a hundredth by a cosine.
        weight: Weight of the distance to the teacher beside the losses, at the beginning.
        weight_end: Weight of that distance at the end; it changes linearly over the training.
    """

    epochs: Annotated[int, Field(ge=0)] = 0
    lr: LearningRate = 2e-3
    weight: Annotated[float, Field(ge=0)] = 0.0
    weight_end: Annotated[float, Field(ge=0)] = 0.0

    def weight_at(self, step: int, steps: int) -> float:
        """Return the weight of the distance to the teacher at a step of the training.

        Args:
            step: Number of the step under the losses, from 0.
            steps: Number of steps under the losses.

        Example:
            >>> distill = DistillSettings(weight=2.0, weight_end=1.0)
            >>> [distill.weight_at(step, steps=4) for step in (0, 1, 4)]
            [2.0, 1.75, 1.0]
        """
        done = min(1.0, step / max(1, steps))
        return self.weight + done * (self.weight_end - self.weight)


OPTIMIZER = OptimizerSettings()
SCHEDULE = ScheduleSettings(every=20)
DISTILL = DistillSettings()
AVERAGE = AverageSettings()


class TrainBackbone(Stage):
    """Train the backbone on the weighted sum of the configuration's losses.

    The defaults are the paper's schedule, without distillation. A second stage of this kind
    continues with the weights of the first.

    Args:
        epochs: Passes over the training patches under the losses.
        batch_size: Pairs per step, of all processes together.
        optimizer: ``name``, any optimizer of timm, and ``lr``, the learning rate.
        schedule: How the rate changes: ``name`` is ``step`` (times ``factor`` after every ``every``
            epochs), ``cosine`` (down to a hundredth) or ``constant``; during the first
            ``warmup_steps`` batches it rises linearly.
        crop: Side in pixels of a window drawn from each patch each time; None for whole patches.
        augment: Whether to apply one of eight reflections and quarter turns, drawn for each pair.
        blend: Whether to distil from random blends of the teachers instead of one of them at a
            time.
        clip: Largest norm of the gradient; None for no limit.
        accumulate: Parts that a batch is divided into, one after another, so that it needs the
            memory of a part. Losses and gradients are those of the whole batch up to rounding, if
            the losses are means over images. Refused for a backbone with batch norms, which would
            see a part only.
        distill: Learn from the teachers' images: for ``epochs`` before the losses, with the
            learning rate ``lr``, and beside the losses with a weight that goes from ``weight`` to
            ``weight_end``.
        distance: Distance to the teacher's image; ``l1-sobel`` if None.
        average: Moving average of the weights with the given ``decay`` per step, saved as
            ``teacher`` for ``teacher: self``; 0 for none. With ``keep`` it becomes the fusion
            network.
        val_pairs: Number of held-out pairs to validate on, and to show, after each epoch.
    """

    name = "train-backbone"
    ignores = ("test",)
    renamed_arguments: ClassVar = {
        "optimizer": "optimizer.name",
        "lr": "optimizer.lr",
        "schedule": "schedule.name",
        "decay_epochs": "schedule.every",
        "decay_rate": "schedule.factor",
        "warmup_steps": "schedule.warmup_steps",
        "warm_start": "distill.epochs",
        "warm_lr": "distill.lr",
        "anchor": "distill.weight",
        "anchor_end": "distill.weight_end",
        "ema": "average.decay",
        "keep": "average.keep",
    }

    def __init__(
        self,
        epochs: Annotated[int, Field(ge=0)] = 120,
        batch_size: Annotated[int, Field(ge=1)] = 4,
        optimizer: OptimizerSettings = OPTIMIZER,
        schedule: ScheduleSettings = SCHEDULE,
        crop: Annotated[int, Field(ge=16)] | None = None,
        augment: bool = False,
        blend: bool = False,
        clip: Annotated[float, Field(gt=0)] | None = None,
        accumulate: Annotated[int, Field(ge=1)] = 1,
        distill: DistillSettings = DISTILL,
        distance: Distance | None = None,
        average: AverageSettings = AVERAGE,
        val_pairs: Annotated[int, Field(ge=0)] = 4,
    ):
        check_optimizer(optimizer.name)
        if epochs + distill.epochs == 0:
            raise FusionkitError("nothing to do: epochs and distill.epochs are both 0")
        if average.keep and not average.decay:
            raise FusionkitError("average.keep needs average.decay, such as 0.998; it is 0")
        self.epochs, self.batch_size = epochs, batch_size
        self.optimizer, self.schedule = optimizer, schedule
        self.crop, self.augment, self.blend, self.clip = crop, augment, blend, clip
        self.accumulate = accumulate
        self.distill, self.distance, self.average = distill, distance or L1Sobel(), average
        self.val_pairs = val_pairs
        if epochs == 0:
            self.ignores = ("test", "sensors", "losses", "transforms")

    def requires(self, run: RunContext) -> tuple[str, ...]:
        """Return the trained sensors; none if no epoch uses the losses."""
        return tuple(f"sensor-{m}" for m in run.config.sensors) if self.epochs else ()

    def produces(self, run: RunContext) -> tuple[str, ...]:
        """Return the weights of the fusion network, and of their moving average."""
        return ("backbone", "teacher") if self.average.decay else ("backbone",)

    def check(self, run: RunContext) -> None:
        """Check that the backbone can be trained and what the losses need is configured."""
        backbone = run.components.build_backbone()
        if not any(p.requires_grad for p in backbone.parameters()):
            raise FusionkitError(f"the backbone {backbone.name!r} has no weights to train")
        if self.accumulate > 1 and any(isinstance(m, _BatchNorm) for m in backbone.modules()):
            raise FusionkitError(
                f"accumulate: the backbone {backbone.name!r} has batch norms, which would see a "
                f"part of the batch only; use `accumulate: 1` and a smaller `batch_size`"
            )
        if self.epochs and not run.config.losses:
            raise FusionkitError("needs `losses`; the configuration has none")
        distill = self.distill
        if (distill.epochs or distill.weight or distill.weight_end) and not run.config.teacher:
            raise FusionkitError("distill needs a `teacher`; the configuration has none")
        sensors = run.components.build_sensors().values()
        stride = math.lcm(backbone.stride, *(sensor.stride for sensor in sensors))
        check_patch_size(run, self.crop, stride, "the networks together")

    def run(self, run: RunContext) -> None:
        """Distil, then train under the losses; validate and save after each epoch."""
        fabric = run.fabric
        backbone = run.current_backbone()
        compiler = Compiler(run)
        objective = build_objective(run, compiler)
        trained = objective.in_precision_of(fabric)
        batches = Batches(
            run,
            self.batch_size,
            build_teachers(run),
            crop=self.crop,
            augment=self.augment,
            blend=self.blend,
            parts=self.accumulate,
        )
        distill_steps = self.distill.epochs * len(batches)
        loss_steps = self.epochs * len(batches)

        optimizer = build_optimizer(backbone.parameters(), self.optimizer)
        scheduler = build_scheduler(optimizer, lambda step: self._rate_at(step, len(batches)))
        form = share_batch_norms(backbone, fabric).training_form()
        compiler.compile(form)
        module, optimizer = fabric.setup(form, optimizer)
        parts = {"backbone": backbone, "optimizer": optimizer, "scheduler": scheduler}
        average, averaged = None, backbone
        if self.average.decay:
            average = parts["average"] = build_average(backbone, self.average.decay)
            averaged = cast(Backbone, average.module)
        result = averaged if self.average.keep else backbone

        generator = torch.Generator()
        epochs = self.distill.epochs + self.epochs
        for epoch in training_epochs(run, "backbone", batches, epochs, parts, compiler):
            module.train()
            generator.manual_seed(run.seeds.seed_for("0", "loss", str(epoch.number)))
            for batch in epoch:
                optimizer.zero_grad()
                distills = epoch.number < self.distill.epochs
                weight = 1.0
                if not distills:
                    weight = self.distill.weight_at(epoch.step - distill_steps, loss_steps)
                found: list[dict[str, Tensor]] = []
                state = generator.get_state()
                for part, share in batch.parts(self.accumulate, batches.share):
                    is_last = len(found) + 1 == self.accumulate
                    generator.set_state(state)  # each part takes its own of the same numbers
                    with fabric.no_backward_sync(module, enabled=not is_last):
                        fused = module(part.sources)
                        terms = []
                        if not distills:
                            terms = trained.terms(part.sources, fused, module, generator, share)
                        if weight > 0:
                            assert part.teacher is not None
                            distance = self.distance(fused, part.teacher)
                            terms.append(Term("teacher", weight, distance))
                        total = sum((t.weight * t.value for t in terms), fused.new_zeros(()))
                        fabric.backward(total / self.accumulate)
                    values = {f"loss/{term.label}": term.value.detach() for term in terms}
                    found.append({"loss": total.detach(), **values})
                norm = None
                if self.clip is not None:
                    norm = fabric.clip_gradients(
                        module, optimizer, max_norm=self.clip, error_if_nonfinite=False
                    )
                optimizer.step()
                if average is not None:
                    average.update_parameters(backbone)
                epoch.finish_step(
                    {name: torch.stack([part[name] for part in found]).mean() for name in found[0]},
                    lr=float(scheduler.get_last_lr()[0]),
                    gradient_norm=norm,
                )
                scheduler.step()
            if run.is_first:
                with compiler.paused():
                    epoch.log(self._validate(run, epoch, result, objective))
        if run.is_first:
            run.checkpoints.save("backbone", result)
            if average is not None:
                run.checkpoints.save("teacher", averaged)

    def _rate_at(self, step: int, steps: int) -> float:
        """Return the learning rate of a step: first of the distillation, then of the training."""
        distill_steps = self.distill.epochs * steps
        if step < distill_steps:
            cosine = ScheduleSettings(name="cosine", warmup_steps=self.schedule.warmup_steps)
            return cosine.rate(self.distill.lr, step, steps, self.distill.epochs)
        return self.schedule.rate(self.optimizer.lr, step - distill_steps, steps, self.epochs)

    @torch.no_grad()
    def _validate(
        self, run: RunContext, epoch: Epoch, backbone: Backbone, objective: Objective
    ) -> dict[str, float]:
        """Return losses and shares of the sources on held-out pairs; save the fused images."""
        indices = list(run.components.data.splits()["val"])[: self.val_pairs]
        found: dict[str, list[float]] = {}
        rows = []
        backbone.eval()
        generator = torch.Generator().manual_seed(run.seeds.seed_for("val"))
        stride = math.lcm(backbone.stride, *(s.stride for s in objective.sensors.values()))
        for index in indices:
            sample = run.components.data[index]
            sources = {
                m: _cut_to_multiple(sample.images[m][None], stride).to(run.fabric.device)
                for m in run.config.modalities
            }
            fused = backbone(sources)
            if self.epochs:
                terms = objective.terms(sources, fused, backbone, generator)
                losses = {f"val/{term.label}": float(term.value) for term in terms}
                epoch.check_validation(sample.id, losses)
                for label, value in losses.items():
                    found.setdefault(label, []).append(value)
            carried = shares(fused, list(sources.values()))[0].tolist()
            for modality, share in zip(sources, carried, strict=True):
                found.setdefault(f"val/share/{modality}", []).append(share)
            rows.append([*sources.values(), fused])
        if epoch.problem is not None:
            return {}  # there is nothing to see in such images
        if rows:
            save_samples(run.folder / "samples" / f"{run.stage}-{epoch.number + 1:03d}.png", rows)
        return {key: sum(values) / len(values) for key, values in found.items()}


def _cut_to_multiple(x: Tensor, stride: int) -> Tensor:
    """Cut an image down to multiples of the stride, for the losses of the validation."""
    h, w = (max(stride, extent // stride * stride) for extent in x.shape[-2:])
    return pad_to_multiple(x, stride)[..., :h, :w]
