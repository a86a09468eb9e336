"""From preprocessed sources to the pixels of the result, for a whole image or a part of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from fusionkit.errors import FusionkitError
from fusionkit.functional.stretching import stretched
from fusionkit.inference.colour import restore_sample_colour
from fusionkit.inference.preprocessing import PreprocessedPair
from fusionkit.inference.runner import NetworkRunner
from fusionkit.inference.sources import FusionOptions
from fusionkit.io.images import from_float

__all__ = ["finished", "fused_luminance"]


def fused_luminance(runner: NetworkRunner, pair: PreprocessedPair) -> Float[Tensor, "1 h w"]:
    """Return the luminance that a network makes of a pair, on the CPU.

    Args:
        runner: The network.
        pair: What ``preprocess`` made.

    Raises:
        FusionkitError: if the network gives NaN or infinite values.

    Example:
        >>> import fusionkit as fk
        >>> from fusionkit.inference.preprocessing import preprocess
        >>> from fusionkit.inference.sources import OpenedSources
        >>> from fusionkit.io.pairs import pair_images
        >>> pair = pair_images({"mri": np.zeros((20, 30)), "pet": np.ones((20, 30))})
        >>> scene = preprocess(pair, OpenedSources([pair], FusionOptions()))
        >>> runner = NetworkRunner(fk.build("backbone", name="average"))
        >>> float(fused_luminance(runner, scene).mean())
        0.5
    """
    fused = runner.fuse(pair.sample)
    if not fused.isfinite().all():
        raise FusionkitError(
            f"expected finite values from the backbone {runner.network.name!r}, found NaN or "
            f"infinite ones for {pair.sample.id}; its weights are damaged or its training "
            f"diverged, so use others"
        )
    return fused


def finished(
    fused: Float[Tensor, "1 h w"], pair: PreprocessedPair, options: FusionOptions
) -> NDArray[Any]:
    """Return the pixels of the result: stretched, with colour, in its depth.

    Args:
        fused: The fused luminance.
        pair: The pair that it was made of.
        options: Stretch and depth.

    Returns:
        (h, w) or (h, w, 3).

    Example:
        >>> import torch
        >>> from fusionkit.interfaces import Sample
        >>> sample = Sample("a", {"mri": torch.zeros(1, 2, 2)})
        >>> pair = PreprocessedPair(sample, "mri", np.dtype(np.uint8), {})
        >>> finished(torch.full((1, 2, 2), 0.2), pair, FusionOptions())[0, 0].item()
        51
    """
    fused = stretched(fused, options.stretch)
    dtype = pair.dtype if options.bits is None else np.dtype(f"uint{options.bits}")
    image = restore_sample_colour(pair.sample, fused, options.colour_rule)
    pixels = image[0] if len(image) == 1 else image.movedim(0, -1)
    return from_float(pixels.numpy(), dtype)
