"""Fuses the images of one scene: any size, with the colour and bit depth of the sources."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from fusionkit.inference.finishing import finished, fused_luminance
from fusionkit.inference.preprocessing import PreprocessedPair, preprocess
from fusionkit.inference.runner import NetworkRunner
from fusionkit.inference.sources import FusionOptions, OpenedSources
from fusionkit.inference.tiles import choose_tile, fuse_in_tiles
from fusionkit.interfaces import Backbone
from fusionkit.io.images import ImageLike
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
    sources, runner = OpenedSources([pair], options), NetworkRunner(model)
    tile = choose_tile(model, pair, options)
    if tile is not None:
        return fuse_in_tiles(runner, pair, sources, tile).whole()
    return fuse_preprocessed(runner, preprocess(pair, sources), options)


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
    return finished(fused_luminance(runner, pair), pair, options)
