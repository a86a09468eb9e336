"""The component under test: how it is built, and which images its checks use."""

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

__all__ = ["BUILD", "NotApplicable", "Refused", "Subject", "expect", "scene", "smooth"]

BUILD = "build"
"""The key of ``Component.refuses`` for components that can't be built from their ``example``."""


class NotApplicable(Exception):  # noqa: N818 (not an error: the check is skipped)
    """A check that has nothing to check in this component, with the reason."""


class Refused(Exception):  # noqa: N818 (not an error: the component declares it)
    """A refusal that the component declares in ``refuses``, with its reason."""


def expect(holds: bool, sentence: str) -> None:
    """Raise AssertionError with a sentence unless a condition holds.

    Example:
        >>> expect(1 + 1 == 2, "1 + 1 is not 2")
    """
    if not holds:
        raise AssertionError(sentence)


@dataclass(frozen=True)
class Subject:
    """A component class and the arguments to build it with.

    Attributes:
        registry: The registry that holds the class and the components that its arguments name.
        cls: The class.
        arguments: The arguments, as in a configuration.
        modalities: Names of the sources that the component is given.

    Example:
        >>> from fusionkit.registry.plugins import load_installed_plugins
        >>> registry = load_installed_plugins().registry
        >>> subject = Subject(registry, registry.get("backbone", "average").cls)
        >>> subject.build()(subject.images(32, 48)).shape
        torch.Size([2, 1, 32, 48])
    """

    registry: Registry
    cls: type[Component]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    modalities: tuple[str, ...] = ("infrared", "visible")

    def build(self, seed: int = 0) -> Any:
        """Build the component with initial weights that depend on the seed only.

        Raises:
            Refused: if it can't be built and declares so.
            AssertionError: if it can't be built and does not declare so.
        """
        needed = [
            key
            for key, value in arguments_model(self.cls).model_fields.items()
            if value.is_required() and key not in self.arguments
        ]
        if needed:
            raise self.refusal(BUILD, f"it needs a value for {', '.join(needed)}")
        try:
            spec = make_spec(self.registry, self.cls.kind, self.cls.name, self.arguments)
            with torch.random.fork_rng(devices=[]):
                torch.random.manual_seed(seed)
                return self.registry.build(spec, self.modalities)
        except FusionkitError as error:
            raise self.refusal(BUILD, str(error)) from None

    def refusal(self, check: str, said: str) -> Exception:
        """Return what to raise when the component refuses in a check.

        Args:
            check: Name of the check, or :data:`BUILD`.
            said: What the component said.
        """
        reason = self.cls.refuses.get(check)
        if reason:
            return Refused(f"{reason} ({said})")
        declare = f'declare refuses = {{"{check}": "the reason"}}'
        if check == BUILD:
            return AssertionError(
                f"it can't be built with the arguments {dict(self.arguments)}: {said}; give the "
                f"class an `example` with arguments that work on every machine, or {declare}"
            )
        return AssertionError(f"it refused: {said}; if it has to, {declare}")

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
    """Return random images (b, 1, h, w) in [0, 1] without detail that resampling would lose.

    Example:
        >>> smooth(2, 8, 6, torch.Generator().manual_seed(0)).shape
        torch.Size([2, 1, 8, 6])
    """
    coarse = torch.rand(batch, 1, 4, 4, generator=generator)
    return torch.nn.functional.interpolate(
        coarse, (height, width), mode="bilinear", align_corners=True
    )


def scene(images: Images, name: str = "scene") -> Sample:
    """Return the first image of each source as a sample.

    Example:
        >>> scene({"visible": torch.zeros(2, 1, 8, 6)}).images["visible"].shape
        torch.Size([1, 8, 6])
    """
    return Sample(name, {modality: image[0] for modality, image in images.items()})
