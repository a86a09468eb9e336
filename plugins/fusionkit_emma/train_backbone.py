"""Stage ``train-backbone``: the fusion network learns under the losses of the configuration."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from fusionkit.errors import FusionkitError
from fusionkit.functional.collapse import shares
from fusionkit.functional.padding import pad_to_multiple
from fusionkit.interfaces import (
    Backbone,
    Distance,
    FusionStep,
    Loss,
    RunContext,
    Sensor,
    Stage,
    TransformGroup,
)
from fusionkit.progress import ProgressBar
from fusionkit_emma.batches import Batches, moving_average
from fusionkit_emma.distances import L1Sobel
from fusionkit_emma.optimization import Schedule, check_optimizer, make_optimizer, make_scheduler
from fusionkit_emma.samples import save_samples
from fusionkit_emma.sides import check_side


class TrainBackbone(Stage):
    """Train the backbone on the weighted sum of the configuration's losses.

    The defaults are the paper's schedule: no warm start, no anchor. A second stage of this kind
    goes on with the weights of the first.

    Args:
        epochs: Passes over the training patches under the losses.
        batch_size: Pairs per step, over all processes.
        lr: Learning rate.
        optimizer: Any of timm's.
        schedule: ``step`` (times ``decay_rate`` every ``decay_epochs``), ``cosine``, ``constant``.
        decay_epochs: See ``schedule``.
        decay_rate: See ``schedule``.
        warmup_steps: Steps of linear warm-up, of the warm start and of the training each.
        crop: Side of a window drawn from each patch each time; the whole patch if left out.
        augment: Draw one of eight reflections and quarter turns for each pair.
        blend: Start from random blends of the teachers, not from one of them at a time.
        clip: Largest norm of the gradient; not clipped if left out.
        warm_start: Epochs before those, in which the backbone learns to repeat the teacher.
        warm_lr: Learning rate of the warm start.
        anchor: Weight of the distance to the teacher beside the losses, at first.
        anchor_end: What that weight goes to, linearly over the steps.
        distance: Of the warm start and the anchor; ``l1-sobel`` if left out.
        ema: Decay per step of a moving average of the weights, saved as ``teacher``, which
            ``teacher: self`` learns from; 0 for none. The first steps decay faster, by
            (1 + step) / (10 + step), so that the average forgets where it started.
        keep: Which weights become the fusion network: the ``last``, or the ``average`` of ``ema``.
        val_pairs: Held-out pairs to validate on, and to show, after each epoch.
    """

    name = "train-backbone"
    ignores = ("test",)

    def __init__(
        self,
        epochs: Annotated[int, Field(ge=0)] = 120,
        batch_size: Annotated[int, Field(ge=1)] = 4,
        lr: Annotated[float, Field(gt=0)] = 1e-4,
        optimizer: str = "adam",
        schedule: Schedule = "step",
        decay_epochs: Annotated[int, Field(ge=1)] = 20,
        decay_rate: Annotated[float, Field(gt=0, le=1)] = 0.5,
        warmup_steps: Annotated[int, Field(ge=0)] = 0,
        crop: Annotated[int, Field(ge=16)] | None = None,
        augment: bool = False,
        blend: bool = False,
        clip: Annotated[float, Field(gt=0)] | None = None,
        warm_start: Annotated[int, Field(ge=0)] = 0,
        warm_lr: Annotated[float, Field(gt=0)] = 2e-3,
        anchor: Annotated[float, Field(ge=0)] = 0.0,
        anchor_end: Annotated[float, Field(ge=0)] = 0.0,
        distance: Distance | None = None,
        ema: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        keep: Literal["last", "average"] = "last",
        val_pairs: Annotated[int, Field(ge=0)] = 4,
    ):
        check_optimizer(optimizer)
        if epochs + warm_start == 0:
            raise FusionkitError("nothing to do: epochs and warm_start are both 0")
        if keep == "average" and not ema:
            raise FusionkitError("keep: average needs `ema`, the decay of that average: ema: 0.998")
        self.epochs, self.batch_size, self.lr = epochs, batch_size, lr
        self.optimizer = optimizer
        self.schedule: Schedule = schedule
        self.decay_epochs, self.decay_rate = decay_epochs, decay_rate
        self.warmup_steps = warmup_steps
        self.crop, self.augment, self.blend, self.clip = crop, augment, blend, clip
        self.warm_start, self.warm_lr = warm_start, warm_lr
        self.anchor, self.anchor_end = anchor, anchor_end
        self.distance = distance or L1Sobel()
        self.ema, self.keep, self.val_pairs = ema, keep, val_pairs
        if epochs == 0:
            self.ignores = ("test", "sensors", "losses", "transforms")

    def requires(self, run: RunContext) -> tuple[str, ...]:
        """The trained sensors, unless no loss is trained under."""
        return tuple(f"sensor-{m}" for m in run.config.sensors) if self.epochs else ()

    def produces(self, run: RunContext) -> tuple[str, ...]:
        """The weights of the fusion network, and of its moving average."""
        return ("backbone", "teacher") if self.ema else ("backbone",)

    def check(self, run: RunContext) -> None:
        """The backbone must be trainable, and what its losses need must be configured."""
        backbone = run.components.build_backbone()
        if not any(p.requires_grad for p in backbone.parameters()):
            raise FusionkitError(f"the backbone {backbone.name!r} has nothing to train")
        if self.epochs and not run.config.losses:
            raise FusionkitError("needs `losses`; there are none")
        if (self.warm_start or self.anchor or self.anchor_end) and not run.config.teacher:
            raise FusionkitError("warm_start and anchor need a `teacher`; there is none")
        strides = {
            backbone.stride,
            *(s.stride for s in run.components.build_sensors().values()),
        }
        check_side(run, self.crop, math.lcm(*strides), "the networks")

    def run(self, run: RunContext) -> None:
        """Warm start, then train; validate and save after each epoch."""
        fabric = run.fabric
        backbone: Backbone = run.current_backbone()
        sensors = _frozen_sensors(run)
        losses = _labelled(run) if self.epochs else []
        transforms = run.components.build_transforms()
        average = moving_average(run)
        batches = Batches(
            run,
            self.batch_size,
            self.crop,
            self.augment,
            self.blend,
            teachers=None if average is None else [average],
        )
        optimizer = make_optimizer(backbone.parameters(), self.optimizer, self.lr)
        warm_scheduler, scheduler = self._schedulers(optimizer, len(batches))
        first, moving = 0, _copy_of(backbone) if self.ema else None
        if (saved := run.checkpoints.load_progress()) is not None:
            backbone.load_state_dict(saved["backbone"])
            first, moving = saved["epoch"], saved["moving"] if self.ema else None
        module, optimizer = fabric.setup(backbone, optimizer)
        if saved is not None:  # now that the weights are where the optimizer's state must be
            optimizer.load_state_dict(saved["optimizer"])
        generator = torch.Generator()
        total_epochs = self.warm_start + self.epochs
        step, warm_steps = first * len(batches), self.warm_start * len(batches)
        with ProgressBar("backbone", total_epochs * len(batches), step, run.is_first) as bar:
            for epoch in range(first, total_epochs):
                module.train()
                generator.manual_seed(
                    run.seeds.seed_for(str(fabric.global_rank), "loss", str(epoch))
                )
                warm = epoch < self.warm_start
                for batch in batches.epoch(epoch):
                    if warm:
                        warm_scheduler.step_update(step)
                    else:
                        scheduler.step_update(step - warm_steps)
                    fused = module(batch.sources)
                    terms: list[tuple[str, float, Tensor]] = []
                    if not warm:
                        state = FusionStep(
                            batch.sources, fused, module, sensors, transforms, generator
                        )
                        with fabric.autocast():
                            terms += [
                                (label, weight, loss(state)) for label, loss, weight in losses
                            ]
                    anchor = 1.0 if warm else self._anchor_at(step - warm_steps, len(batches))
                    if anchor > 0:
                        assert batch.teacher is not None
                        terms.append(("teacher", anchor, self.distance(fused, batch.teacher)))
                    total = sum((w * term for _, w, term in terms), start=fused.new_zeros(()))
                    _refuse_nan(total, step)
                    optimizer.zero_grad()
                    fabric.backward(total)
                    if self.clip is not None:
                        fabric.clip_gradients(module, optimizer, max_norm=self.clip)
                    optimizer.step()
                    step += 1
                    if moving is not None:
                        _average(moving, backbone, decay_at(step, self.ema))
                    values = {f"loss/{label}": term.item() for label, _, term in terms}
                    lr = optimizer.param_groups[0]["lr"]
                    run.log.write(step, {"loss": total.item(), **values, "lr": lr})
                    bar.step({"loss": total.item()})
                if run.is_first:
                    kept = self._kept(backbone, moving)
                    run.log.write(
                        step, self._validate(run, epoch, kept, sensors, losses, transforms)
                    )
                    run.checkpoints.save_progress(
                        {
                            "backbone": backbone.state_dict(),
                            "optimizer": optimizer.state_dict(),
                            "moving": moving or {},
                            "epoch": epoch + 1,
                        }
                    )
                fabric.barrier()
        if run.is_first:
            run.checkpoints.save("backbone", self._kept(backbone, moving))
            if moving is not None:
                run.checkpoints.save("teacher", backbone, moving)

    def _schedulers(self, optimizer: torch.optim.Optimizer, steps: int) -> tuple[Any, Any]:
        """Return the schedulers of the warm start (cosine) and of the training."""
        groups = optimizer.param_groups
        groups[0]["lr"] = self.warm_lr
        # timm remembers the rate it first saw as the one to scale; each schedule has its own.
        warm = make_scheduler(
            optimizer, "cosine", max(1, self.warm_start), steps, 1, 1.0, self.warmup_steps
        )
        for group in groups:
            group["lr"] = self.lr
            group.pop("initial_lr", None)
        main = make_scheduler(
            optimizer,
            self.schedule,
            max(1, self.epochs),
            steps,
            self.decay_epochs,
            self.decay_rate,
            self.warmup_steps,
        )
        return warm, main

    def _kept(self, backbone: Backbone, moving: dict[str, Tensor] | None) -> Backbone:
        """Return the network with the weights that ``keep`` asks for."""
        if self.keep == "last" or moving is None:
            return backbone
        kept = copy.deepcopy(backbone)
        kept.load_state_dict(moving)
        return kept

    def _anchor_at(self, step: int, steps_per_epoch: int) -> float:
        """Go from ``anchor`` to ``anchor_end`` over the training."""
        done = min(1.0, step / max(1, self.epochs * steps_per_epoch))
        return self.anchor + done * (self.anchor_end - self.anchor)

    @torch.no_grad()
    def _validate(
        self,
        run: RunContext,
        epoch: int,
        backbone: Backbone,
        sensors: Mapping[str, Sensor],
        losses: Sequence[tuple[str, Loss, float]],
        transforms: Sequence[tuple[TransformGroup, int]],
    ) -> dict[str, float]:
        """Return losses and shares of the sources on held-out pairs; save what they show."""
        indices = list(run.components.data.splits()["val"])[: self.val_pairs]
        found: dict[str, list[float]] = {}
        rows = []
        backbone.eval()
        generator = torch.Generator().manual_seed(run.seeds.seed_for("val"))
        stride = math.lcm(backbone.stride, *(s.stride for s in sensors.values()))
        for index in indices:
            sample = run.components.data[index]
            sources = {
                m: _fit(sample.images[m][None], stride).to(run.fabric.device)
                for m in run.config.modalities
            }
            fused = backbone(sources)
            state = FusionStep(sources, fused, backbone, sensors, transforms, generator)
            for label, loss, _ in losses:
                found.setdefault(f"val/{label}", []).append(float(loss(state)))
            carried = shares(fused, list(sources.values()))[0].tolist()
            for modality, share in zip(sources, carried, strict=True):
                found.setdefault(f"val/share/{modality}", []).append(share)
            rows.append([*sources.values(), fused])
        if rows:
            save_samples(run.folder / "samples" / f"{run.stage}-{epoch + 1:03d}.png", rows)
        return {key: sum(values) / len(values) for key, values in found.items()}


def _labelled(run: RunContext) -> list[tuple[str, Loss, float]]:
    """Return the losses under names that are all different."""
    labelled: list[tuple[str, Loss, float]] = []
    for loss, weight in run.components.build_losses():
        same = sum(loss.name == other.name for _, other, _ in labelled)
        label = f"{loss.name}-{same + 1}" if same else loss.name
        labelled.append((label, loss.to(run.fabric.device), weight))
    return labelled


def _frozen_sensors(run: RunContext) -> dict[str, Sensor]:
    """Return the trained sensors: eval mode, gradients through them but none into them."""
    return {
        modality: sensor.eval().requires_grad_(False).to(run.fabric.device)
        for modality, sensor in run.current_sensors().items()
    }


def _copy_of(module: torch.nn.Module) -> dict[str, Tensor]:
    return {key: tensor.detach().cpu().clone() for key, tensor in module.state_dict().items()}


def decay_at(step: int, decay: float) -> float:
    """Return the decay of the moving average at a step, counted from 1: less at first."""
    return min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def _average(moving: dict[str, Tensor], module: torch.nn.Module, decay: float) -> None:
    """Move the moving average one step towards the weights."""
    for key, tensor in module.state_dict().items():
        new = tensor.detach().cpu()
        if new.is_floating_point():
            moving[key].lerp_(new, 1 - decay)
        else:
            moving[key].copy_(new)


def _refuse_nan(total: Tensor, step: int) -> None:
    if not torch.isfinite(total):
        raise FusionkitError(
            f"the loss became {total.item()} at step {step}; lower `lr`, set `clip: 1.0`, or "
            f"train in `precision: 32-true`. The last epoch that went well is saved."
        )


def _fit(x: Tensor, stride: int) -> Tensor:
    """Cut an image down to multiples of the stride, for validation losses."""
    h, w = (max(stride, extent // stride * stride) for extent in x.shape[-2:])
    return pad_to_multiple(x, stride)[..., :h, :w]
