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
    """Everything a loss may look at in one training step.

    Attributes:
        sources: Modality name -> (b, 1, h, w).
        fused: (b, 1, h, w), ``backbone(sources)`` with gradients.
        backbone: The network in training; call it again to fuse something else.
        sensors: Modality name -> frozen pseudo-sensor; gradients flow through, none into it.
        transforms: Groups, each with the number of elements to draw per step.
        generator: A CPU generator, the step's only source of randomness.
    """

    sources: Images
    fused: Float[Tensor, "b 1 h w"]
    backbone: Backbone
    sensors: Mapping[str, Sensor]
    transforms: Sequence[tuple[TransformGroup, int]]
    generator: Generator


class Loss(Component, nn.Module, ABC):
    """One term of the training objective; its ``weight`` stands beside it in the recipe."""

    kind = "loss"

    @abstractmethod
    def forward(self, step: FusionStep) -> Float[Tensor, ""]:
        """Return a finite scalar to be made small."""


class Distance(Component, nn.Module, ABC):
    """How far two image batches are apart; what losses are made of."""

    kind = "distance"

    @abstractmethod
    def forward(
        self,
        a: Float[Tensor, "b 1 h w"],
        b: Float[Tensor, "b 1 h w"],
        mask: Bool[Tensor, "b 1 h w"] | None = None,
    ) -> Float[Tensor, ""]:
        """Return the mean distance, 0 if a equals b; over the pixels of ``mask`` if given."""
