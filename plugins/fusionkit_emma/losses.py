"""The two losses of EMMA: the sensors recover the sources, and fusion is equivariant."""

from __future__ import annotations

import functools
import logging
from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from fusionkit.interfaces import BatchShare, Distance, FusionStep, Loss, TransformElement
from fusionkit_emma.distances import L1Sobel
from fusionkit_emma.transfer import send

logger = logging.getLogger("fusionkit")


class Sensing(Loss):
    """sum over modalities m of distance(A_m(F(sources)), source_m), EMMA eq. (5).

    A_m is the sensor of modality m, F the backbone.

    Args:
        distance: Distance between a sensed image and its source; ``l1-sobel`` if None.
        noise: Standard deviation of Gaussian noise added to the fused image before the sensors
            see it, in units of the [0, 1] range. It hides marks that are too faint to be seen. The
            official method has none.
        direct: Whether to compare the fused image itself with the sources, without sensors: the
            ablation of the paper.

    Example:
        >>> from fusionkit.interfaces import FusionStep
        >>> sources = {"infrared": torch.zeros(1, 1, 16, 16), "visible": torch.ones(1, 1, 16, 16)}
        >>> average = lambda sources: sum(sources.values()) / len(sources)
        >>> step = FusionStep(sources, average(sources), average, {}, [], torch.Generator())
        >>> Sensing(direct=True)(step).item()
        1.0
    """

    name = "sensing"

    def __init__(
        self,
        distance: Distance | None = None,
        noise: Annotated[float, Field(ge=0, le=1)] = 0.0,
        direct: bool = False,
    ):
        super().__init__()
        self.distance = distance or L1Sobel()
        self.noise = noise
        self.direct = direct

    def forward(self, step: FusionStep) -> Float[Tensor, ""]:
        """Return the sum of the distances of all modalities, a scalar.

        Raises:
            FusionkitError: if a modality has no sensor.
        """
        total = step.fused.new_zeros(())
        seen = add_noise(step.fused, self.noise, step.generator, step.share)
        for modality, source in step.sources.items():
            if self.direct:
                sensed = step.fused
            elif self.noise:
                sensed = step.sensor(modality)(seen)
            else:
                sensed = step.sense(modality)
            total = total + self.distance(sensed, source)
        return total


class Equivariance(Loss):
    """distance(T f, F(A_1(T f), ..., A_n(T f))) over a stack of transforms T, EMMA eq. (3).

    f is the fused image, A_m the sensor of modality m, F the backbone. In the official code the
    stack holds the identity and all drawn elements, each applied to f, so that a batch of b images
    becomes one of b * (1 + number of elements).

    Args:
        distance: Distance between T f and the second fusion; ``l1-sobel`` if None.
        elements: Number of drawn elements to use per step; all of them if None.
        identity: Whether the stack also holds the identity. None means true, but false if
            ``elements`` is given; say it explicitly then.
        masked: Whether to count only the pixels that are valid after the transform.
        noise: Standard deviation of Gaussian noise on the sensors' input, as for ``sensing``.
        detach: Whether to treat f as a constant. The loss then teaches the network to recover T f
            from what the sensors see of it. In the official code the gradient also draws f towards
            the second fusion. That is blurred while the sensors are poor, so that blurring f
            lowers the loss.

    Example:
        >>> from fusionkit.interfaces import FusionStep
        >>> from fusionkit_emma.transforms import Reflect
        >>> sources = {"infrared": torch.rand(1, 1, 16, 16)}
        >>> fuse = lambda sources: sources["infrared"]  # commutes with everything
        >>> sensors = {"infrared": lambda fused: fused}
        >>> transforms = [(Reflect(), 3)]
        >>> step = FusionStep(
        ...     sources, fuse(sources), fuse, sensors, transforms, torch.Generator()
        ... )
        >>> Equivariance()(step).item()
        0.0
    """

    name = "equivariance"

    def __init__(
        self,
        distance: Distance | None = None,
        elements: Annotated[int, Field(ge=1)] | None = None,
        identity: bool | None = None,
        masked: bool = False,
        noise: Annotated[float, Field(ge=0, le=1)] = 0.0,
        detach: bool = False,
    ):
        super().__init__()
        self.distance = distance or L1Sobel()
        self.elements = elements
        if identity is None and elements is not None:
            _warn_no_identity()
        self.identity = elements is None if identity is None else identity
        self.masked = masked
        self.noise = noise
        self.detach = detach

    def forward(self, step: FusionStep) -> Float[Tensor, ""]:
        """Return the distance over the stack, a scalar.

        Raises:
            FusionkitError: if a modality has no sensor.
        """
        fused = step.fused.detach() if self.detach else step.fused
        height, width = fused.shape[-2:]
        drawn: list[TransformElement] = []
        for group, count in step.transforms:
            order = group.order((height, width))
            count = count if order is None else min(count, order)
            drawn.extend(group.sample(count, (height, width), step.generator))
        if self.elements is not None:
            chosen = torch.randperm(len(drawn), generator=step.generator)[: self.elements]
            drawn = [drawn[k] for k in chosen.tolist()]
        images = [element.apply(fused) for element in drawn]
        if self.identity:
            images.insert(0, fused)
        if not images:
            return step.fused.new_zeros(())
        stack = torch.cat(images)
        mask = None
        if self.masked:
            masks = [element.valid((height, width)) for element in drawn]
            if self.identity:
                masks.insert(0, torch.ones(height, width, dtype=torch.bool))
            batch = fused.shape[0]
            mask = send(torch.stack(masks)[:, None].repeat_interleave(batch, dim=0), stack.device)
        seen = add_noise(stack, self.noise, step.generator, step.share, batches=len(images))
        if self.identity and drawn and not self.noise and not self.detach:
            rest = seen[len(fused) :]  # `sensing` looks at the first batch too
            sensed = {
                modality: torch.cat((step.sense(modality), step.sensor(modality)(rest)))
                for modality in step.sources
            }
        else:
            sensed = {modality: step.sensor(modality)(seen) for modality in step.sources}
        return self.distance(stack, step.backbone(sensed), mask)


@functools.cache  # once a process is enough
def _warn_no_identity() -> None:
    logger.warning(
        "loss 'equivariance': `elements` alone leaves the identity out; say `identity: false` to "
        "keep that, or `identity: true` to use the identity as well"
    )


def add_noise(
    x: Float[Tensor, "b c h w"],
    sigma: float,
    generator: torch.Generator,
    share: BatchShare = BatchShare(),
    batches: int = 1,
) -> Float[Tensor, "b c h w"]:
    """Return x plus Gaussian noise from a CPU generator; x itself if sigma is 0.

    Args:
        x: Images.
        sigma: Standard deviation of the noise.
        generator: Source of the noise.
        share: Which images of each batch x holds.
        batches: Number of batches that x holds one after another.

    Example:
        >>> add_noise(torch.zeros(1, 1, 1, 2), 0.0, torch.Generator())
        tensor([[[[0., 0.]]]])
    """
    if sigma == 0:
        return x
    images = len(x) // batches * share.processes
    drawn = torch.randn(batches, images, *x.shape[1:], generator=generator)
    noise = share.of(drawn, dim=1).reshape(x.shape).to(x.dtype)
    return x + sigma * send(noise, x.device)
