"""The component under test: how it is built, and what its kind's checks feed it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from fusionkit.errors import FusionkitError
from fusionkit.interfaces import Component, Images, Sample
from fusionkit.registry.arguments import arguments_model, make_spec
from fusionkit.registry.components import Registry

__all__ = ["NotApplicable", "Subject", "expect", "scene", "smooth"]


class NotApplicable(Exception):  # noqa: N818 (no error: a check that is skipped)
    """A check that has nothing to check in this component; says why."""


def expect(holds: bool, sentence: str) -> None:
    """Raise AssertionError with a sentence unless something holds."""
    if not holds:
        raise AssertionError(sentence)


@dataclass(frozen=True)
class Subject:
    """A component class of a registry, with arguments to build it by.

    Attributes:
        registry: That it is in, with the components that its arguments may name.
        cls: The class.
        arguments: As in a configuration; needed for those without a default.
        modalities: Names of the sources that it is given.
    """

    registry: Registry
    cls: type[Component]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    modalities: tuple[str, ...] = ("infrared", "visible")

    def build(self, seed: int = 0) -> Any:
        """Build it with initial weights that follow from the seed.

        Raises:
            NotApplicable: if an argument has no default and no value was given.
        """
        needed = [
            key
            for key, value in arguments_model(self.cls).model_fields.items()
            if value.is_required() and key not in self.arguments
        ]
        if needed:
            raise NotApplicable(f"no value given for its argument {', '.join(needed)}")
        spec = make_spec(self.registry, self.cls.kind, self.cls.name, self.arguments)
        with torch.random.fork_rng(devices=[]):
            torch.random.manual_seed(seed)
            try:
                return self.registry.build(spec, self.modalities)
            except FusionkitError as error:
                raise NotApplicable(f"it can't be built here: {error}") from None

    def images(self, height: int, width: int, batch: int = 2, seed: int = 0) -> Images:
        """Return random sources with shapes and grain, each (b, 1, h, w) in [0, 1]."""
        generator = torch.Generator().manual_seed(seed)
        return {
            name: (
                smooth(batch, height, width, generator)
                + 0.05 * torch.randn(batch, 1, height, width, generator=generator)
            ).clamp(0, 1)
            for name in self.modalities
        }


def smooth(batch: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Return random images (b, 1, h, w) in [0, 1] without detail that resampling would lose."""
    coarse = torch.rand(batch, 1, 4, 4, generator=generator)
    return torch.nn.functional.interpolate(
        coarse, (height, width), mode="bilinear", align_corners=True
    )


def scene(images: Images, name: str = "scene") -> Sample:
    """Return the first of a batch of sources as a sample."""
    return Sample(name, {modality: image[0] for modality, image in images.items()})
