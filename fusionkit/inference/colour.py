"""The colour of a fused image: a rule of ``functional.colour_rules`` applied to a sample."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from fusionkit.functional.colour_rules import ColourRule, restore_colour
from fusionkit.interfaces import Sample

__all__ = ["restore_sample_colour"]


def restore_sample_colour(
    sample: Sample, fused: Float[Tensor, "1 h w"], rule: ColourRule
) -> Float[Tensor, "c h w"]:
    """Return the fused image in the colour of the sample, or unchanged if the sample has none.

    It works pixel by pixel, so a strip of an image gives a strip of the result. If the sample lacks
    the luminance of its colour source, the chroma is left as it is (``ycbcr``).

    Args:
        sample: Luminance and chroma of the sources.
        fused: Fused luminance, on the device of the sample.
        rule: See ``functional.colour_rules.restore_colour``.

    Returns:
        (3, h, w), or (1, h, w) if the sample has no chroma; values in [0, 1] if it has.

    Example:
        >>> import torch
        >>> grey = Sample("a", {"infrared": torch.rand(1, 4, 6)})
        >>> restore_sample_colour(grey, torch.rand(1, 4, 6), "oklab").shape
        torch.Size([1, 4, 6])
    """
    if sample.chroma is None:
        return fused
    source = sample.images.get(sample.colour)
    if source is None:
        return restore_colour(fused, sample.chroma, fused, "ycbcr")
    return restore_colour(fused, sample.chroma, source, rule)
