"""Base class of all groups: draws different elements, none of them the identity."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import Generator

from fusionkit.errors import FusionkitError
from fusionkit.interfaces import TransformElement, TransformGroup
from fusionkit_deepinv.element import Element, plain_tensors
from fusionkit_deepinv.library import deepinv_module

_ATTEMPTS = 1000
"""Number of draws per element before giving up."""

MIN_MOVE = 0.1
"""Smallest largest displacement in pixels; an element that moves less counts as the identity."""

MIN_VALID = 0.1
"""Smallest fraction of the image that an element, and its inverse, must keep valid."""


class Group(TransformGroup):
    """A transform group of deepinv.

    Raises:
        FusionkitError: if deepinv is not installed.
    """

    library = "deepinv.transform"
    """Module of deepinv that has the transform; imported when the group is built."""

    def __init__(self) -> None:
        deepinv_module(self.library)

    def sample(
        self, count: int, size: tuple[int, int], generator: Generator
    ) -> Sequence[TransformElement]:
        """Draw ``count`` different elements for images of ``size`` (h, w).

        Raises:
            FusionkitError: if ``count`` is more than ``order(size)``, or too few of the elements
                drawn move the image and keep enough of it.
        """
        order = self.order(size)
        if order is not None and count > order:
            raise FusionkitError(
                f"{self.name}: expected a count of at most {order} for images of "
                f"{size[0]}x{size[1]} pixels, found {count}"
            )
        drawn: dict[Hashable, TransformElement] = {}
        for _ in range(_ATTEMPTS * count):
            if len(drawn) == count:
                break
            element = self._draw(size, generator)
            key = self._key(element, size)
            if key is not None:
                drawn.setdefault(key, element)
        if len(drawn) < count:
            raise FusionkitError(
                f"{self.name}: expected {count} different elements that move pixels and keep "
                f"{MIN_VALID:.0%} of an image of {size[0]}x{size[1]} pixels, found {len(drawn)} in "
                f"{_ATTEMPTS * count} draws; change the ranges"
            )
        return list(drawn.values())

    def order(self, size: tuple[int, int]) -> int | None:
        """Return the number of elements for images of ``size`` (h, w), without the identity.

        None means that there is no limit, which is the default.
        """
        return None

    @abstractmethod
    def _draw(self, size: tuple[int, int], generator: Generator) -> Element:
        """Draw one element; it may be the identity."""

    def _key(self, element: Any, size: tuple[int, int]) -> Hashable | None:
        """Return a key that is equal for equal elements; None for useless ones and the identity."""
        if not moves_and_keeps(element, size):
            return None
        return tuple((key, *value.flatten().tolist()) for key, value in element.parameters.items())


def draw_parameters(transform: Any, size: tuple[int, int], generator: Generator) -> dict[str, Any]:
    """Return the parameters that a transform of deepinv draws for one image of ``size``."""
    transform.rng = generator
    return plain_tensors(transform.get_params(torch.empty(1, 1, *size)))


def moves_and_keeps(element: Element, size: tuple[int, int]) -> bool:
    """Return whether an element moves a valid pixel and keeps enough of the image, both ways."""
    valid, back = element.valid(size), element.inverse()
    if valid.float().mean().item() < MIN_VALID:
        return False
    sides = (torch.arange(float(side)) for side in size)
    places = torch.stack(torch.meshgrid(*sides, indexing="ij"))[None]
    moved = (element.apply(places) - places)[..., valid].abs().max().item()
    survives = back.valid(size) & (back.apply(valid[None, None].float())[0, 0] > 1 - 1e-4)
    return moved > MIN_MOVE and survives.float().mean().item() >= MIN_VALID
