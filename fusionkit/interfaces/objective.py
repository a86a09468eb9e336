"""The training objective: losses, and the distances that they are made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Generator, Tensor, nn

from fusionkit.interfaces.component import Component
from fusionkit.interfaces.networks import Backbone, Sensor
from fusionkit.interfaces.sample import Images
from fusionkit.interfaces.transform import TransformGroup

__all__ = ["Distance", "FusionStep", "Loss"]


@dataclass(frozen=True)
class FusionStep:
    """What a loss sees of one training step.

    Attributes:
        sources: Modality name -> (b, 1, h, w).
        fused: (b, 1, h, w), ``backbone(sources)`` with gradients.
        backbone: The network in training; a loss may call it again on other images.
        sensors: Modality name -> frozen pseudo-sensor; gradients flow through it, not into it.
        transforms: Transform groups, each with the number of elements to draw per step.
        generator: CPU generator, the only source of randomness.
    """

    sources: Images
    fused: Float[Tensor, "b 1 h w"]
    backbone: Backbone
    sensors: Mapping[str, Sensor]
    transforms: Sequence[tuple[TransformGroup, int]]
    generator: Generator


class Loss(Component, nn.Module, ABC):
    """One term of the training objective; the recipe gives its ``weight``."""

    kind = "loss"

    @abstractmethod
    def forward(self, step: FusionStep) -> Float[Tensor, ""]:
        """Return a finite scalar to minimise."""


class Distance(Component, nn.Module, ABC):
    """A distance between two batches of images, which losses are built from."""

    kind = "distance"

    @abstractmethod
    def forward(
        self,
        a: Float[Tensor, "b 1 h w"],
        b: Float[Tensor, "b 1 h w"],
        mask: Bool[Tensor, "b 1 h w"] | None = None,
    ) -> Float[Tensor, ""]:
        """Return the mean distance, over the pixels of ``mask`` if given; 0 if a equals b."""
