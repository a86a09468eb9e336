"""Metrics: numbers for a fused image and its sources."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

from jaxtyping import Float
from torch import Tensor

from fusionkit.interfaces.component import Component
from fusionkit.interfaces.sample import Images

__all__ = ["Metric"]


class Metric(Component, ABC):
    """A score of a fused image, defined by its name and by its profile.

    A profile is a set of conventions, such as those of a published evaluator.
    """

    kind = "metric"
    higher_is_better: ClassVar[bool]
    profiles: ClassVar[tuple[str, ...]]
    """Names of the profiles that the metric is defined in."""
    by_default: ClassVar[bool] = True
    """Whether it belongs to "all metrics of the profile"; False if it refuses common sizes."""
    profile: str
    grey: Literal["opencv", "matlab"] = "opencv"
    """How the profile converts 8-bit colour to grey."""

    @abstractmethod
    def __call__(self, fused: Float[Tensor, "b 1 h w"], sources: Images) -> Float[Tensor, " b"]:
        """Score each image of a batch as the 8-bit image that would be saved.

        Args:
            fused: (b, 1, h, w) in [0, 1].
            sources: Modality name -> (b, 1, h, w) in [0, 1].

        Returns:
            (b,), a finite score for each image.
        """
