"""Fusers that look at one pixel at a time."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from fusionkit.interfaces import Backbone, Images


class Average(Backbone):
    """The mean of the sources."""

    name = "average"

    def forward(self, sources: Images) -> Float[Tensor, "b 1 h w"]:
        """Average pixel by pixel."""
        return stack(sources).mean(dim=0)


class Max(Backbone):
    """The brightest source at each pixel."""

    name = "max"

    def forward(self, sources: Images) -> Float[Tensor, "b 1 h w"]:
        """Take the maximum pixel by pixel."""
        return stack(sources).amax(dim=0)


def stack(sources: Images) -> Float[Tensor, "m b 1 h w"]:
    """Return the sources as one tensor, modality first."""
    return torch.stack(list(sources.values()))
