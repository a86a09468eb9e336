"""The objective of a training: losses, and what they look at beside the fused image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from fusionkit.inference.inference_form import fold_batch_norms
from fusionkit.interfaces import (
    Backbone,
    BatchShare,
    FusionStep,
    Images,
    Loss,
    RunContext,
    Sensor,
    TransformGroup,
)
from fusionkit_emma.checkpointing import checkpoint_activations
from fusionkit_emma.compilation import Compiler

if TYPE_CHECKING:
    from lightning_fabric import Fabric  # importing it takes seconds; only training needs it


@dataclass(frozen=True)
class Term:
    """One term of the objective for one batch.

    Attributes:
        label: Name in the log.
        weight: Factor in the sum.
        value: Value of the loss, a scalar.
    """

    label: str
    weight: float
    value: Tensor


@dataclass(frozen=True)
class Objective:
    """The losses of a run.

    Attributes:
        losses: Label, loss and weight of each term.
        sensors: Frozen pseudo-sensors by modality.
        transforms: Groups, each with the number of elements to draw per step.
    """

    losses: Sequence[tuple[str, Loss, float]]
    sensors: Mapping[str, Sensor]
    transforms: Sequence[tuple[TransformGroup, int]]

    def in_precision_of(self, fabric: Fabric) -> Objective:
        """Return the same losses with sensors that work in the precision of the training."""
        sensors: dict[str, Sensor] = {m: MixedSensor(s, fabric) for m, s in self.sensors.items()}
        return replace(self, sensors=sensors)

    def terms(
        self,
        sources: Images,
        fused: Tensor,
        backbone: Backbone,
        generator: Generator,
        share: BatchShare = BatchShare(),
    ) -> list[Term]:
        """Return the terms for a batch.

        Args:
            sources: Modality -> (b, 1, h, w).
            fused: What the backbone made of them, (b, 1, h, w).
            backbone: The network, or Fabric's wrapper of it, for losses that fuse again.
            generator: Source of randomness for noise and transforms.
            share: Which images of the batch these are.
        """
        step = FusionStep(sources, fused, backbone, self.sensors, self.transforms, generator, share)
        return [Term(label, weight, loss(step)) for label, loss, weight in self.losses]


class MixedSensor(Sensor):
    """A sensor that works in the precision of the training and gives images in that of its input.

    So the losses themselves are computed in 32 bits. In 16 bits, rotations would miss their pixels
    and variances would be noise.

    Args:
        sensor: The sensor.
        fabric: Devices and precision.

    Example:
        >>> from lightning_fabric import Fabric
        >>> from fusionkit_emma.unet import UNet
        >>> sensor = MixedSensor(UNet(width=4), Fabric(accelerator="cpu", precision="bf16-mixed"))
        >>> sensor.eval()(torch.zeros(1, 1, 16, 16)).dtype
        torch.float32
    """

    def __init__(self, sensor: Sensor, fabric: Fabric):
        super().__init__()
        self.sensor, self.stride = sensor, sensor.stride
        self._autocast = fabric.autocast

    def forward(self, fused: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
        """Map fused images to images of the modality."""
        with self._autocast():
            sensed = self.sensor(fused)
        return sensed.to(fused.dtype)


def build_objective(run: RunContext, compiler: Compiler) -> Objective:
    """Build the losses, transforms and trained sensors of a run, on its device.

    Losses of equal names get different labels. Gradients pass through the sensors, not into them.
    """
    losses: list[tuple[str, Loss, float]] = []
    for loss, weight in run.components.build_losses():
        same = sum(loss.name == other.name for _, other, _ in losses)
        label = f"{loss.name}-{same + 1}" if same else loss.name
        losses.append((label, loss.to(run.fabric.device), weight))
    sensors = {
        modality: freeze(sensor).to(run.fabric.device)
        for modality, sensor in run.current_sensors().items()
    }
    if run.config.activation_checkpointing:
        for sensor in sensors.values():
            checkpoint_activations(sensor)
    for sensor in sensors.values():
        compiler.compile(sensor)
    return Objective(losses, sensors, run.components.build_transforms())


def freeze(sensor: Sensor) -> Sensor:
    """Return a copy of a trained sensor that gradients pass through, as fast as they can.

    Batch norms of averages are part of the convolutions in front of them, and the weights need no
    gradient.

    Example:
        >>> from fusionkit_emma.unet import UNet
        >>> any(weight.requires_grad for weight in freeze(UNet(width=4)).parameters())
        False
    """
    return fold_batch_norms(sensor).to(memory_format=torch.channels_last)
