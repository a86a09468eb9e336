"""Backbones ``average`` and ``max``, which fuse each pixel on its own."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from fusionkit.interfaces import Backbone, Images


class Average(Backbone):
    """Mean of the sources, pixel by pixel.

    Example:
        >>> import torch
        >>> import fusionkit as fk
        >>> backbone = fk.build("backbone", name="average")
        >>> dark, bright = torch.full((1, 1, 1, 2), 0.2), torch.full((1, 1, 1, 2), 0.8)
        >>> backbone({"infrared": dark, "visible": bright})
        tensor([[[[0.5000, 0.5000]]]])
    """

    name = "average"

    def forward(self, sources: Images) -> Float[Tensor, "b 1 h w"]:
        """Return the mean of the sources."""
        return stack(sources).mean(dim=0)


class Max(Backbone):
    """Maximum of the sources, pixel by pixel.

    Example:
        >>> import torch
        >>> import fusionkit as fk
        >>> backbone = fk.build("backbone", name="max")
        >>> dark, bright = torch.full((1, 1, 1, 2), 0.2), torch.full((1, 1, 1, 2), 0.8)
        >>> backbone({"infrared": dark, "visible": bright})
        tensor([[[[0.8000, 0.8000]]]])
    """

    name = "max"

    def forward(self, sources: Images) -> Float[Tensor, "b 1 h w"]:
        """Return the maximum of the sources."""
        return stack(sources).amax(dim=0)


def stack(sources: Images) -> Float[Tensor, "m b 1 h w"]:
    """Stack the sources along a new first axis.

    Example:
        >>> import torch
        >>> tuple(stack({"ir": torch.zeros(3, 1, 4, 5), "vi": torch.zeros(3, 1, 4, 5)}).shape)
        (2, 3, 1, 4, 5)
    """
    return torch.stack(list(sources.values()))
