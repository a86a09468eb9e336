"""The training objective: losses, and the distances that they are made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor, nn

from fusionkit.errors import FusionkitError
from fusionkit.interfaces.component import Component
from fusionkit.interfaces.networks import Backbone, Sensor
from fusionkit.interfaces.sample import Images
from fusionkit.interfaces.transform import TransformGroup

__all__ = ["BatchShare", "Distance", "FusionStep", "Loss"]


@dataclass(frozen=True)
class BatchShare:
    """The images of a batch that one of several processes works on: every n-th.

    Random numbers are drawn for the whole batch in each process, from equal generators, and each
    takes its own. So the training does not depend on the number of processes.

    Attributes:
        rank: Number of this process, from 0; its first image has this number too.
        processes: Number of processes.

    Example:
        >>> import torch
        >>> BatchShare(rank=1, processes=2).of(torch.arange(6))
        tensor([1, 3, 5])
    """

    rank: int = 0
    processes: int = 1

    def of(self, drawn: Tensor, dim: int = 0) -> Tensor:
        """Return what belongs to this process of numbers that were drawn for the whole batch.

        Args:
            drawn: The numbers; the dimension ``dim`` counts the images of the whole batch.
            dim: That dimension.
        """
        if self.processes == 1:
            return drawn
        own = range(self.rank, drawn.shape[dim], self.processes)
        return drawn.index_select(dim, torch.tensor(own, device=drawn.device))


@dataclass(frozen=True)
class FusionStep:
    """What a loss sees of one training step.

    Attributes:
        sources: Modality name -> (b, 1, h, w).
        fused: (b, 1, h, w), ``backbone(sources)`` with gradients.
        backbone: The network in training; a loss may call it again on other images.
        sensors: Modality name -> frozen pseudo-sensor; gradients flow through it, not into it.
        transforms: Transform groups, each with the number of elements to draw per step.
        generator: CPU generator, the only source of randomness. It gives the same numbers in all
            processes; what is drawn for each image is drawn for the whole batch, and ``share.of``
            gives what belongs to the images at hand.
        share: Which images of the batch these are.

    Example:
        >>> fused = torch.rand(1, 1, 16, 16)
        >>> sensors = {"infrared": lambda images: 1 - images}
        >>> step = FusionStep({}, fused, None, sensors, [], torch.Generator())
        >>> torch.equal(step.sense("infrared"), 1 - fused)
        True
    """

    sources: Images
    fused: Float[Tensor, "b 1 h w"]
    backbone: Backbone
    sensors: Mapping[str, Sensor]
    transforms: Sequence[tuple[TransformGroup, int]]
    generator: Generator
    share: BatchShare = BatchShare()
    _sensed: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False)

    def sensor(self, modality: str) -> Sensor:
        """Return the sensor of a modality.

        Raises:
            FusionkitError: if there is none.
        """
        if modality not in self.sensors:
            raise FusionkitError(
                f"no sensor for the modality {modality!r}; there are sensors for: "
                f"{', '.join(self.sensors) or 'none'}"
            )
        return self.sensors[modality]

    def sense(self, modality: str) -> Float[Tensor, "b 1 h w"]:
        """Return what a sensor sees of ``fused``; it looks once, however many losses ask.

        Raises:
            FusionkitError: if the modality has no sensor.
        """
        if modality not in self._sensed:
            self._sensed[modality] = self.sensor(modality)(self.fused)
        return self._sensed[modality]


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
