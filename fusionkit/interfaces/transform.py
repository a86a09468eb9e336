"""Transform groups: shifts, rotations, reflections and the like."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from jaxtyping import Bool, Float
from torch import Generator, Tensor

from fusionkit.interfaces.component import Component

__all__ = ["TransformElement", "TransformGroup"]


class TransformElement(ABC):
    """One element of a transform group, with fixed parameters.

    ``str(element)`` stands in audits, so give it a ``__str__`` that people read, such as
    ``rotate by 10°``; different elements of a group need different texts.
    """

    exact: bool
    """Whether it only moves pixels, so that its inverse restores every bit."""

    @abstractmethod
    def apply(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Transform every image of the batch alike; differentiable; keeps the size."""

    @abstractmethod
    def inverse(self) -> TransformElement:
        """Return the element that reverses this one."""

    @abstractmethod
    def valid(self, size: tuple[int, int]) -> Bool[Tensor, "h w"]:
        """Mark the pixels of ``apply(x)`` that depend on x alone, not on what fills its borders."""


class TransformGroup(Component, ABC):
    """A group of transforms under which imaging is equivariant."""

    kind = "transform"

    @abstractmethod
    def sample(
        self, count: int, size: tuple[int, int], generator: Generator
    ) -> Sequence[TransformElement]:
        """Draw different elements, none of them the identity.

        Args:
            count: Number of elements, 0 or more.
            size: (h, w) of the images in pixels.
            generator: CPU generator, the only source of randomness.

        Raises:
            FusionkitError: if ``count`` is more than ``order(size)``.
        """

    def order(self, size: tuple[int, int]) -> int | None:
        """Return the number of elements without the identity; None, the default, if unlimited.

        Args:
            size: (h, w) of the images in pixels.
        """
        return None
