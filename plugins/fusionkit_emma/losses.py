"""The two terms of EMMA: sensors must see the sources again, and fusing must commute."""

from __future__ import annotations

from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from fusionkit.errors import FusionkitError
from fusionkit.interfaces import Distance, FusionStep, Loss, TransformElement
from fusionkit_emma.distances import L1Sobel


class Sensing(Loss):
    """sum over modalities m of distance(A_m(F(sources)), source_m), EMMA eq. (5).

    Args:
        distance: How far a sensed image is from its source.
        noise: Standard deviation of Gaussian noise added to the fused image before the sensors
            see it, in units of the [0, 1] range; marks too faint for an eye drown in it. The
            official method has none.
        direct: Compare the fused image itself with the sources, without sensors: the ablation
            of the paper.
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
        """Return the sum over the modalities.

        Raises:
            FusionkitError: if a modality has no sensor.
        """
        total = step.fused.new_zeros(())
        seen = add_noise(step.fused, self.noise, step.generator)
        for modality, source in step.sources.items():
            sensed = step.fused if self.direct else _sensor(step, modality)(seen)
            total = total + self.distance(sensed, source)
        return total


class Equivariance(Loss):
    """distance(T f, F(A_1(T f), ..., A_n(T f))) over a stack of transforms T, EMMA eq. (3).

    Officially the stack is the identity and all drawn elements, each applied to f itself, so a
    batch of b becomes b * (1 + number of elements).

    Args:
        distance: How far the second fusion is from the transformed first.
        elements: How many of the drawn elements to use in a step, the identity left out; all of
            them and the identity if not given.
        masked: Count only pixels that the transform leaves valid.
        noise: As for ``sensing``.
        detach: Take f as given: the term then teaches the network to give T f back from what the
            sensors see of it. Officially f too is drawn towards the second fusion, which is
            blurred as long as the sensors are poor, so that the term can be met by blurring f.
    """

    name = "equivariance"

    def __init__(
        self,
        distance: Distance | None = None,
        elements: Annotated[int, Field(ge=1)] | None = None,
        masked: bool = False,
        noise: Annotated[float, Field(ge=0, le=1)] = 0.0,
        detach: bool = False,
    ):
        super().__init__()
        self.distance = distance or L1Sobel()
        self.elements = elements
        self.masked = masked
        self.noise = noise
        self.detach = detach

    def forward(self, step: FusionStep) -> Float[Tensor, ""]:
        """Return the distance over the stack, with gradients on both sides, or the second only."""
        fused = step.fused.detach() if self.detach else step.fused
        height, width = fused.shape[-2:]
        drawn: list[TransformElement] = []
        for group, count in step.transforms:
            order = group.order((height, width))
            count = count if order is None else min(count, order)
            drawn.extend(group.sample(count, (height, width), step.generator))
        if self.elements is not None:
            kept = torch.randperm(len(drawn), generator=step.generator)[: self.elements]
            drawn = [drawn[k] for k in kept.tolist()]
            images = [element.apply(fused) for element in drawn]
        else:
            images = [fused, *(element.apply(fused) for element in drawn)]
        if not images:
            return step.fused.new_zeros(())
        stack = torch.cat(images)
        mask = None
        if self.masked:
            masks = [element.valid((height, width)) for element in drawn]
            if self.elements is None:
                masks.insert(0, torch.ones(height, width, dtype=torch.bool))
            batch = fused.shape[0]
            mask = torch.stack(masks)[:, None].repeat_interleave(batch, dim=0).to(stack.device)
        seen = add_noise(stack, self.noise, step.generator)
        sensed = {modality: _sensor(step, modality)(seen) for modality in step.sources}
        return self.distance(stack, step.backbone(sensed), mask)


def add_noise(x: Tensor, sigma: float, generator: torch.Generator) -> Tensor:
    """Return x plus Gaussian noise from a CPU generator; x itself if sigma is 0."""
    if sigma == 0:
        return x
    return x + sigma * torch.randn(x.shape, generator=generator).to(x)


def _sensor(step: FusionStep, modality: str) -> torch.nn.Module:
    if modality not in step.sensors:
        raise FusionkitError(
            f"no sensor for the modality {modality!r}; sensors: {', '.join(step.sensors) or 'none'}"
        )
    return step.sensors[modality]
