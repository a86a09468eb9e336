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
    """A number for a fused image, defined by name and profile (whose conventions it follows)."""

    kind = "metric"
    higher_is_better: ClassVar[bool]
    profiles: ClassVar[tuple[str, ...]]
    """The profiles that the metric is defined in."""
    by_default: ClassVar[bool] = True
    """Whether it is among "all metrics of the profile"; not if it refuses images of usual size."""
    profile: str
    grey: Literal["opencv", "matlab"] = "opencv"
    """How the profile makes 8-bit colour grey before it scores."""

    @abstractmethod
    def __call__(self, fused: Float[Tensor, "b 1 h w"], sources: Images) -> Float[Tensor, " b"]:
        """Score each image of a batch in [0, 1], taken as the 8-bit image that would be saved."""
