"""Turns opened images into what networks fuse: luminance of one size, in one place."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusionkit.errors import FusionkitError
from fusionkit.functional.colour import channels_first, split_chroma
from fusionkit.functional.resampling import resample
from fusionkit.functional.translation import estimate_shift, translate
from fusionkit.inference.sources import OpenedSources
from fusionkit.interfaces import Sample
from fusionkit.io.images import has_colour, to_float
from fusionkit.io.pairs import Pair
from fusionkit.io.windows import apply_window

__all__ = ["PreprocessedPair", "preprocess", "read_samples", "to_sample"]

LEAST_SHIFT = 0.5
"""Shifts below this many pixels are not applied: they gain less than interpolation blurs."""

Images = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class PreprocessedPair:
    """A pair that a network can fuse.

    Attributes:
        sample: The luminance of each source, all of one size, and the chroma of the result; no
            chroma for a grey result.
        reference_modality: The source that gives the result its type, and its colour if there is
            chroma. The others are moved onto it.
        dtype: Type of the pixels of the result.
        shifts: Modality -> (rows, columns) in pixels from its image to the reference, None if no
            reliable shift was found; empty if none was looked for.
    """

    sample: Sample
    reference_modality: str
    dtype: np.dtype[Any]
    shifts: Mapping[str, tuple[float, float] | None]

    @property
    def moved(self) -> dict[str, float]:
        """Modality -> length in pixels of the shift that was applied to it."""
        lengths = {name: math.hypot(*s) for name, s in self.shifts.items() if s is not None}
        return {name: length for name, length in lengths.items() if length >= LEAST_SHIFT}


def preprocess(pair: Pair, sources: OpenedSources) -> PreprocessedPair:
    """Read a pair and make luminance of one size of it, in one place.

    Args:
        pair: One of ``sources.pairs``.
        sources: Windows and options.

    Raises:
        FusionkitError: for a damaged file, pixels of an unknown type, NaN, or floats outside
            [0, 1] that have no window.

    Example:
        >>> from fusionkit.inference.sources import FusionOptions
        >>> from fusionkit.io.pairs import pair_images
        >>> pair = pair_images({"infrared": np.zeros((20, 30)), "visible": np.ones((20, 30, 3))})
        >>> found = preprocess(pair, OpenedSources([pair], FusionOptions()))
        >>> found.sample.images["visible"].shape, found.reference_modality
        (torch.Size([1, 20, 30]), 'infrared')
    """
    images = {modality: image.read() for modality, image in pair.images.items()}
    colour = sources.options.colour or _find_colour(images)
    scaled = {}
    for modality, pixels in images.items():
        try:
            scaled[modality] = (
                apply_window(pixels, sources.windows[modality])
                if modality in sources.windows
                else to_float(pixels)
            )
        except FusionkitError as error:
            raise FusionkitError(f"{pair.images[modality].name}: {error}") from None
    sample = _split(pair.id, scaled, colour)
    luma = dict(sample.images)
    size = pair.sizes.get(colour) or max(pair.sizes.values(), key=math.prod)
    for modality, found in pair.sizes.items():
        if found != size:
            luma[modality] = resample(luma[modality], size)
    reference = colour if colour in luma else next(iter(luma))
    shifts: dict[str, tuple[float, float] | None] = {}
    if sources.options.align:
        for modality in luma:
            if modality != reference:
                shifts[modality] = estimate_shift(luma[reference], luma[modality])
    result = PreprocessedPair(
        replace(sample, images=luma), reference, images[reference].dtype, shifts
    )
    for modality in result.moved:
        luma[modality] = translate(luma[modality], *(shifts[modality] or (0.0, 0.0)))
    return result


def read_samples(pairs: Iterable[Pair]) -> Iterator[Sample]:
    """Yield pairs as samples, each scaled by the range of its type; see ``to_sample``.

    Raises:
        FusionkitError: for a file that can't be read.

    Example:
        >>> from fusionkit.io.pairs import pair_images
        >>> pair = pair_images({"mri": np.zeros((20, 30)), "pet": np.ones((20, 30, 3))}, name="01")
        >>> [sample.id for sample in read_samples([pair])]
        ['01']
    """
    for pair in pairs:
        yield to_sample(pair.id, {name: image.read() for name, image in pair.images.items()})


def to_sample(name: str, images: Images) -> Sample:
    """Return the luminance of each image, and the chroma of the source with colour if there is one.

    Args:
        name: Name of the scene.
        images: Modality -> (h, w) or (h, w, 3), uint8, uint16 or float in [0, 1]; all of one size.

    Raises:
        FusionkitError: for other pixels; names the modality.

    Example:
        >>> rgb = np.array([[[255, 0, 0]]], np.uint8)
        >>> sample = to_sample("red", {"infrared": rgb[..., 0], "visible": rgb})
        >>> [round(float(x), 3) for x in sample.images.values()], sample.chroma.shape
        ([1.0, 0.299], torch.Size([2, 1, 1]))
    """
    scaled = {}
    for modality, pixels in images.items():
        try:
            scaled[modality] = to_float(pixels)
        except FusionkitError as error:
            raise FusionkitError(f"{modality}: {error}") from None
    return _split(name, scaled, _find_colour(images))


def _split(name: str, images: Mapping[str, NDArray[np.float32]], colour: str) -> Sample:
    luma, chroma = {}, None
    for modality, pixels in images.items():
        luma[modality], found = split_chroma(channels_first(pixels))
        chroma = found if modality == colour else chroma
    return Sample(name, luma, chroma=chroma, colour=colour)


def _find_colour(images: Images) -> str:
    """Return the modality whose colour the result has; ``none`` if all sources are grey."""
    coloured = [modality for modality, image in images.items() if has_colour(image)]
    return "visible" if "visible" in coloured else next(iter(coloured), "none")
