"""Fused samples as the networks of the tasks see them: three channels."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from fusionkit.functional.colour import join_chroma
from fusionkit.interfaces import Sample


def rgb(sample: Sample) -> Float[Tensor, "3 h w"]:
    """Return the fused image in [0, 1], in colour if the comparison gives it any."""
    fused = sample.images["fused"]
    if sample.chroma is None:
        return fused.expand(3, -1, -1)
    return join_chroma(fused, sample.chroma)
