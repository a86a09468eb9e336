"""Transform groups: shifts, rotations, reflections and the like."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from jaxtyping import Bool, Float
from torch import Generator, Tensor

from fusionkit.interfaces.component import Component

__all__ = ["TransformElement", "TransformGroup"]


class TransformElement(ABC):
    """One element of a transform group, its parameters drawn."""

    exact: bool
    """True if it moves pixels without resampling, so that its inverse restores them bit by bit."""

    @abstractmethod
    def apply(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Transform every image of the batch alike; differentiable; the size stays."""

    @abstractmethod
    def inverse(self) -> TransformElement:
        """Return the element that undoes this one."""

    @abstractmethod
    def valid(self, size: tuple[int, int]) -> Bool[Tensor, "h w"]:
        """Mark the pixels of ``apply(x)`` that show x alone, and nothing made up at its borders."""


class TransformGroup(Component, ABC):
    """A group of transforms under which imaging is equivariant."""

    kind = "transform"

    @abstractmethod
    def sample(
        self, count: int, size: tuple[int, int], generator: Generator
    ) -> Sequence[TransformElement]:
        """Draw ``count`` elements for images of ``size`` (h, w), none of them the identity.

        Args:
            count: How many, 0 or more.
            size: (h, w) in pixels.
            generator: The only source of randomness; a CPU generator.

        Raises:
            FusionkitError: if ``count`` is more than ``order(size)``.
        """

    def order(self, size: tuple[int, int]) -> int | None:
        """Return how many elements it has for images of ``size`` (h, w), beside the identity.

        None means without limit, which is the default.
        """
        return None
