"""What all groups share: drawing different elements, none of them the identity."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import Generator

from fusionkit.errors import FusionkitError
from fusionkit.interfaces import TransformElement, TransformGroup
from fusionkit_deepinv.element import Element, plain
from fusionkit_deepinv.library import deepinv_module

_ATTEMPTS = 1000
"""Draws per element before giving up."""

LEAST_MOVE = 0.1
"""Pixels that some pixel must move by; what moves them by less is as good as the identity."""

LEAST_VALID = 0.1
"""Part of the image that an element with resampling must leave valid, and bring back."""


class Group(TransformGroup):
    """A group of deepinv's."""

    library = "deepinv.transform"
    """The module that its transform is in; looked for when the group is built."""

    def __init__(self) -> None:
        deepinv_module(self.library)

    def sample(
        self, count: int, size: tuple[int, int], generator: Generator
    ) -> Sequence[TransformElement]:
        """Draw ``count`` different elements for images of ``size`` (h, w).

        Raises:
            FusionkitError: if there are not that many, or hardly any keeps enough of the image.
        """
        there = self.order(size)
        if there is not None and count > there:
            raise FusionkitError(
                f"{self.name}: expected a count of at most {there} for images of "
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
                f"{self.name}: of {_ATTEMPTS * count} draws for images of {size[0]}x{size[1]} "
                f"pixels, {len(drawn)} differ, move pixels and keep {LEAST_VALID:.0%} of the "
                f"image, expected {count}; change the ranges"
            )
        return list(drawn.values())

    def order(self, size: tuple[int, int]) -> int | None:
        """Return the number of elements without the identity, None if they are uncountable."""
        return None

    @abstractmethod
    def _draw(self, size: tuple[int, int], generator: Generator) -> Element:
        """Draw one element, perhaps the identity."""

    def _key(self, element: Any, size: tuple[int, int]) -> Hashable | None:
        """Return what tells the element from others, None if it is useless or the identity."""
        if not moves_and_keeps(element, size):
            return None
        return tuple((key, *value.flatten().tolist()) for key, value in element.parameters.items())


def drawn_by(transform: Any, size: tuple[int, int], generator: Generator) -> dict[str, Any]:
    """Return the parameters that a transform of deepinv draws for one image."""
    transform.rng = generator
    return plain(transform.get_params(torch.empty(1, 1, *size)))


def moves_and_keeps(element: Element, size: tuple[int, int]) -> bool:
    """Return whether it moves a valid pixel, and enough survives both it and its inverse."""
    valid, back = element.valid(size), element.inverse()
    if valid.float().mean().item() < LEAST_VALID:
        return False
    sides = (torch.arange(float(side)) for side in size)
    places = torch.stack(torch.meshgrid(*sides, indexing="ij"))[None]
    moved = (element.apply(places) - places)[..., valid].abs().max().item()
    survives = back.valid(size) & (back.apply(valid[None, None].float())[0, 0] > 1 - 1e-4)
    return moved > LEAST_MOVE and survives.float().mean().item() >= LEAST_VALID
