"""What arrays go through before they are fused: windows, luminance, one size, one place."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fusionkit.errors import FusionkitError, nearest
from fusionkit.functional.colour import split_chroma
from fusionkit.functional.resampling import resample, same_field
from fusionkit.functional.translation import estimate_shift, translate
from fusionkit.io.images import has_colour, to_float
from fusionkit.io.windows import apply_window, check_windows

__all__ = ["SMALLEST", "Prepared", "check_colour", "colour_of", "prepare"]

SMALLEST = 16
"""Least height and width in pixels of an image to fuse."""
LEAST_SHIFT = 0.5
"""Pixels; less is not worth what interpolation blurs."""


@dataclass(frozen=True)
class Prepared:
    """Sources of one scene that can be fused.

    Attributes:
        luma: Modality -> (1, h, w) in [0, 1], all of one size.
        chroma: (2, h, w) of the source whose colour the result has, None for a grey result.
        kept: The modality that the result has its type from, and its colour if there is chroma.
        shifts: Modality -> (rows, columns) in pixels by which it was found to be off, None if that
            could not be found out; empty if it was not looked for. Those of half a pixel and more
            were applied.
    """

    luma: Mapping[str, Tensor]
    chroma: Tensor | None
    kept: str
    shifts: Mapping[str, tuple[float, float] | None]

    @property
    def moved(self) -> dict[str, float]:
        """Modality -> length in pixels of the shift that was applied."""
        lengths = {name: math.hypot(*s) for name, s in self.shifts.items() if s is not None}
        return {name: length for name, length in lengths.items() if length >= LEAST_SHIFT}


def prepare(
    images: Mapping[str, NDArray[Any]],
    *,
    colour: str | None = None,
    windows: Mapping[str, tuple[float, float]] | None = None,
    resampled: bool = False,
    align: bool = False,
) -> Prepared:
    """Return images of one scene as luminance of one size, in one place.

    Args:
        images: See ``fusionkit.fuse``.
        colour: See ``fusionkit.fuse``.
        windows: See ``fusionkit.fuse``.
        resampled: Bring sources of another size to that of the colour source, else of the largest.
        align: Move sources onto the colour source, else onto the first.

    Raises:
        FusionkitError: for what is no image, or sizes that don't fit.
    """
    windows = windows or {}
    if len(images) < 2:
        raise FusionkitError(f"expected two or more sources, found {', '.join(images) or 'none'}")
    check_windows(windows, list(images))
    for modality, image in images.items():
        _check_image(modality, image)
    kept = colour_of(images, colour)
    size = _common_size(images, kept, resampled)
    luma: dict[str, Tensor] = {}
    chroma: Tensor | None = None
    for modality, image in images.items():
        try:
            pixels = (
                apply_window(image, windows[modality]) if modality in windows else to_float(image)
            )
        except FusionkitError as error:
            raise FusionkitError(f"{modality}: {error}") from None
        values = torch.from_numpy(pixels)
        if values.ndim == 2:
            luma[modality] = values[None]
        else:
            luma[modality], colours = split_chroma(values.movedim(-1, 0).contiguous())
            chroma = colours if modality == kept else chroma
        if image.shape[:2] != size:
            luma[modality] = resample(luma[modality], size)
    shifts: dict[str, tuple[float, float] | None] = {}
    if align:
        reference = kept or next(iter(luma))
        for modality in luma:
            if modality != reference:
                shifts[modality] = estimate_shift(luma[reference], luma[modality])
    prepared = Prepared(luma, chroma, kept or next(iter(images)), shifts)
    for modality in prepared.moved:
        luma[modality] = translate(luma[modality], *(shifts[modality] or (0.0, 0.0)))
    return prepared


def colour_of(images: Mapping[str, NDArray[Any]], colour: str | None) -> str | None:
    """Return the modality whose colour the result keeps, None for a grey result.

    Raises:
        FusionkitError: if ``colour`` names no source.
    """
    check_colour(images, colour)
    if colour is not None:
        return None if colour == "none" else colour
    coloured = [modality for modality, image in images.items() if has_colour(image)]
    return "visible" if "visible" in coloured else next(iter(coloured), None)


def check_colour(modalities: Iterable[str], colour: str | None) -> None:
    """Refuse a colour source that is none of the modalities.

    Raises:
        FusionkitError: with the nearest name.
    """
    names = list(modalities)
    if colour not in (None, "none", *names):
        raise FusionkitError(
            f"colour: expected none or one of the sources {', '.join(names)}, found {colour!r}"
            + nearest(colour, ["none", *names])
        )


def _common_size(
    images: Mapping[str, NDArray[Any]], kept: str | None, resampled: bool
) -> tuple[int, int]:
    sizes = {modality: (image.shape[0], image.shape[1]) for modality, image in images.items()}
    if len(set(sizes.values())) == 1:
        return next(iter(sizes.values()))
    described = ", ".join(f"{modality} {h}x{w}" for modality, (h, w) in sizes.items())
    if not resampled:
        raise FusionkitError(
            f"the sources have unequal sizes (height x width): {described}; "
            f"register them pixel by pixel first, or let resample=True scale them if they show "
            f"the same field of view"
        )
    largest = max(sizes.values(), key=math.prod)
    size = sizes[kept] if kept else largest
    if not all(same_field(size, other) for other in sizes.values()):
        raise FusionkitError(
            f"the sources have unequal aspect ratios (height x width): {described}; they must "
            f"show the same field of view to be resampled, so crop them alike"
        )
    return size


def _check_image(modality: str, image: NDArray[Any]) -> None:
    if not isinstance(image, np.ndarray):
        raise FusionkitError(f"{modality}: expected a numpy array, found {type(image).__name__}")
    if not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)):
        raise FusionkitError(
            f"{modality}: expected an image of shape (h, w) or (h, w, 3), found {image.shape}"
        )
    if min(image.shape[:2]) < SMALLEST:
        raise FusionkitError(
            f"{modality}: expected at least {SMALLEST}x{SMALLEST} pixels, "
            f"found {image.shape[0]}x{image.shape[1]}"
        )
