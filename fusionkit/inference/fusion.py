"""Fuses the images of one scene: any size, with the colour and bit depth of the sources."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusionkit.errors import FusionkitError
from fusionkit.functional.stretching import stretched
from fusionkit.inference.colour import restore_sample_colour
from fusionkit.inference.preprocessing import PreprocessedPair, preprocess
from fusionkit.inference.runner import NetworkRunner
from fusionkit.inference.sources import FusionOptions, OpenedSources
from fusionkit.interfaces import Backbone
from fusionkit.io.images import ImageLike, from_float
from fusionkit.io.pairs import pair_images

__all__ = ["fuse_images", "fuse_preprocessed"]


def fuse_images(
    model: Backbone,
    images: Mapping[str, ImageLike],
    options: FusionOptions | None = None,
    *,
    name: str = "image",
) -> NDArray[Any]:
    """Fuse registered images of one scene in one pass, whatever their size.

    ``fusionkit.fuse`` does the same, and takes the names of models and of their sources.

    Args:
        model: A backbone, on any device.
        images: Modality name -> file, Pillow image, or array (h, w) or (h, w, 3) of uint8, uint16
            or float in [0, 1]; at least 16 x 16 pixels.
        options: How to fuse them.
        name: File stem of the scene, for backbones that look up results by it.

    Returns:
        (h, w) or (h, w, 3) with the size and dtype of the colour source, or of the first source if
        none has colour; floats in [0, 1].

    Raises:
        FusionkitError: for fewer than two sources, unequal sizes, pixels that are no image, or a
            model that gives NaN.

    Example:
        >>> import numpy as np
        >>> import fusionkit as fk
        >>> average = fk.build("backbone", name="average")
        >>> dark, bright = np.zeros((16, 16), np.uint8), np.full((16, 16), 100, np.uint8)
        >>> int(fuse_images(average, {"infrared": dark, "visible": bright})[0, 0])
        50
    """
    options = options or FusionOptions()
    pair = pair_images(images, name=name, resample=options.resample)
    sources = OpenedSources([pair], options)
    return fuse_preprocessed(NetworkRunner(model), preprocess(pair, sources), options)


def fuse_preprocessed(
    runner: NetworkRunner, pair: PreprocessedPair, options: FusionOptions
) -> NDArray[Any]:
    """Fuse a pair that ``preprocess`` made; see ``fuse_images`` for the result.

    Args:
        runner: The network.
        pair: Luminance and chroma.
        options: How to fuse them.

    Raises:
        FusionkitError: if the model gives NaN or infinite values.

    Example:
        >>> import fusionkit as fk
        >>> import numpy as np
        >>> pair = pair_images({"mri": np.zeros((20, 30)), "pet": np.ones((20, 30))})
        >>> scene = preprocess(pair, OpenedSources([pair], FusionOptions()))
        >>> average = NetworkRunner(fk.build("backbone", name="average"))
        >>> float(fuse_preprocessed(average, scene, FusionOptions())[0, 0])
        0.5
    """
    fused = runner.fuse(pair.sample)
    if not fused.isfinite().all():
        raise FusionkitError(
            f"expected finite values from the backbone {runner.network.name!r}, found NaN or "
            f"infinite ones for {pair.sample.id}; its weights are damaged or its training "
            f"diverged, so use others"
        )
    fused = stretched(fused, options.stretch)
    dtype = pair.dtype if options.bits is None else np.dtype(f"uint{options.bits}")
    image = restore_sample_colour(pair.sample, fused, options.colour_rule)
    pixels = image[0] if len(image) == 1 else image.movedim(0, -1)
    return from_float(pixels.numpy(), dtype)
