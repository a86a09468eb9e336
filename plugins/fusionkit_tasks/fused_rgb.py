"""The fused image of a sample as three channels, which the networks of the tasks expect."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from fusionkit.functional.colour import join_chroma
from fusionkit.interfaces import Sample


def fused_rgb(sample: Sample) -> Float[Tensor, "3 h w"]:
    """Return the fused image in [0, 1]: in colour if the sample has chroma, else grey.

    The chroma is put back unchanged (``ycbcr``), because published results were trained on such
    images; people get another rule by default.

    Example:
        >>> import torch
        >>> fused_rgb(Sample("a", {"fused": torch.rand(1, 4, 6)})).shape
        torch.Size([3, 4, 6])
    """
    fused = sample.images["fused"]
    if sample.chroma is None:
        return fused.expand(3, -1, -1)
    return join_chroma(fused, sample.chroma)
