"""Display windows: the pixel values of a source that become black and white.

A thermal camera uses a small part of 16 bits, or gives kelvin. Scaled by the range of its type,
such an image is flat grey. One window holds for all images of a source, so that a video does not
flicker.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fusionkit.errors import FusionkitError
from fusionkit.io.images import OpenedImage, has_colour
from fusionkit.io.modalities import check_modality

__all__ = ["Window", "apply_window", "find_windows"]

logger = logging.getLogger("fusionkit")

Window = str | tuple[float, float]
"""(low, high) in the units of the pixels, or ``LOW:HIGH``, ``LOW%:HIGH%`` or ``full``."""

DEFAULT = (0.5, 99.5)
"""Percentiles that become 0 and 1 if a source needs a window and none is given."""
_NARROW = 0.25
"""A 16-bit source needs a window if its percentiles span less than this part of the range."""
_SAMPLE = 1 << 24
"""Percentiles are taken of at most this many pixels of all images together."""


_PART = 1 << 24
"""Pixels of a large file that are read at a time."""


class _Range(NamedTuple):
    low: float
    high: float
    percent: bool


def apply_window(image: NDArray[Any], window: tuple[float, float]) -> NDArray[np.float32]:
    """Return pixels as float32 in [0, 1]: ``low`` becomes 0, ``high`` becomes 1.

    Values outside the window saturate.

    Args:
        image: (h, w) or (h, w, 3); uint8, uint16 or finite floats of any range, as
            :meth:`OpenedImage.read` returns them.
        window: (low, high) in the image's own units, low < high.

    Raises:
        FusionkitError: for another type, or one whose values all lie below the window, such as an
            8-bit image among the counts of a camera.

    Example:
        >>> apply_window(np.array([[290.0, 300.0, 320.0]]), (290, 310)).tolist()
        [[0.0, 0.5, 1.0]]
    """
    if image.dtype not in (np.uint8, np.uint16, np.float16, np.float32, np.float64):
        raise FusionkitError(
            f"expected an image of uint8, uint16 or float, found {image.dtype}; convert it first"
        )
    low, high = window
    if image.dtype.kind == "u" and low >= np.iinfo(image.dtype).max:
        raise FusionkitError(
            f"expected pixels that reach the window {low:g} to {high:g}, found {image.dtype}, of "
            f"which all would be black; fuse it apart from the others, or give another window"
        )
    return np.clip((image.astype(np.float64) - low) / (high - low), 0, 1).astype(np.float32)


def find_windows(
    sources: Mapping[str, Sequence[OpenedImage]],
    asked: Mapping[str, Window],
    *,
    skip_damaged: bool = False,
    choose_for_arrays: bool = False,
) -> dict[str, tuple[float, float]]:
    """Return modality -> (low, high) for each source that has a window; log the measured ones.

    Percentiles are taken over all pixels of all images of a source together, or over an even
    sample of 16 million if there are more. A source of files for which no window is asked gets the
    percentiles 0.5 % to 99.5 % if all its images are grey and either uint16, with these percentiles
    less than a quarter of the range apart, or float, with values outside [0, 1]. Images of 8 bits
    are not read. If a source mixes types, its most frequent one decides, and a warning names the
    other files. Images in memory get only the windows that are asked for.

    Args:
        sources: Modality -> images.
        asked: Modality -> window.
        skip_damaged: Measure windows without the files that can't be read.
        choose_for_arrays: Choose windows for images in memory as for files.

    Raises:
        FusionkitError: for a modality that is no source, a window of another form, a file that
            can't be read, or a window without values in it.

    Example:
        >>> from fusionkit.io.images import open_image
        >>> kelvin = open_image(np.linspace(280, 320, 101).reshape(1, -1))
        >>> find_windows({"infrared": [kelvin]}, {"infrared": "25%:75%"})
        {'infrared': (290.0, 310.0)}
    """
    wanted = {}
    for modality, window in asked.items():
        check_modality("windows", modality, sources)
        wanted[modality] = _parse(modality, window)
    windows: dict[str, tuple[float, float]] = {}
    for modality, images in sources.items():
        window = wanted.get(modality)
        chosen = choose_for_arrays or all(image.path is not None for image in images)
        if window is None and (modality in wanted or not chosen):
            continue
        if window is not None and not window.percent:
            windows[modality] = window.low, window.high
            continue
        percentiles = DEFAULT if window is None else (window.low, window.high)
        found = _measure(
            modality, images, percentiles, chosen=window is None, skip_damaged=skip_damaged
        )
        if found is None:
            continue
        windows[modality] = found
        count = f"{len(images)} image{'s' if len(images) > 1 else ''}"
        logger.info(
            f"{modality}: values {found[0]:.6g} to {found[1]:.6g} ({percentiles[0]:g} % to "
            f"{percentiles[1]:g} % of {count}) become 0 to 1"
            + (f"; another window: --window {modality}=LOW:HIGH" if window is None else "")
        )
    return windows


def _parse(modality: str, window: Window) -> _Range | None:
    """Return the range that a window asks for; None for the whole range of the type."""
    if window == "full":
        return None
    percent = False
    if isinstance(window, str):
        parts = window.split(":")
        percent = len(parts) == 2 and all(part.endswith("%") for part in parts)
        try:
            low, high = (float(part.removesuffix("%") if percent else part) for part in parts)
        except ValueError:
            raise FusionkitError(
                f"the window of {modality}: expected LOW:HIGH (7000:9000), LOW%:HIGH% (1%:99%) or "
                f"full, found {window!r}"
            ) from None
    else:
        low, high = window
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise FusionkitError(
            f"the window of {modality}: expected a low value below the high one, "
            f"found {low:g} and {high:g}; swap or change them"
        )
    if percent and not (low >= 0 and high <= 100):
        raise FusionkitError(
            f"the window of {modality}: expected percentiles from 0% to 100%, found {window!r}"
        )
    return _Range(low, high, percent)


def _measure(
    modality: str,
    opened: Sequence[OpenedImage],
    percentiles: tuple[float, float],
    *,
    chosen: bool,
    skip_damaged: bool,
) -> tuple[float, float] | None:
    """Return percentiles of a set of images; None if we choose, and it needs no window."""
    if chosen:
        opened, others = _most_frequent_type(opened)
        if not opened or opened[0].dtype not in (np.uint16, np.float32):
            _warn_of_others(modality, None, others)
            return None
    else:
        others = []
    types = {str(image.dtype) for image in opened}
    if len(types) > 1:
        raise FusionkitError(
            f"the window of {modality}: expected images of one type, found "
            f"{', '.join(sorted(types))}; percentiles need one unit, so give LOW:HIGH instead"
        )
    count = max(1, _SAMPLE // len(opened))
    samples: list[NDArray[Any]] = []
    least, most = math.inf, -math.inf
    for source in opened:
        try:
            found = _sample(source, count)
        except FusionkitError:
            if skip_damaged:
                continue
            raise
        if chosen and found.colour:
            return None
        least, most = min(least, found.least), max(most, found.most)
        samples.append(found.pixels)
    if not samples:
        return None
    low, high = (float(v) for v in np.percentile(np.concatenate(samples), percentiles))
    if chosen and types == {"uint16"} and high - low >= _NARROW * np.iinfo(np.uint16).max:
        return None
    if chosen and types == {"float32"} and least >= 0 and most <= 1:
        return None
    if low < high:
        _warn_of_others(modality, (low, high), others)
        return low, high
    if chosen and types == {"uint16"}:
        return None  # an image of one value has nothing to show
    raise FusionkitError(
        f"{modality}: the values at {percentiles[0]:g} % and {percentiles[1]:g} % of "
        f"{len(opened)} image{'s' if len(opened) > 1 else ''} are both {low:.6g}; "
        f"give a window in the file's own units: --window {modality}=LOW:HIGH"
    )


def _most_frequent_type(
    opened: Sequence[OpenedImage],
) -> tuple[list[OpenedImage], list[OpenedImage]]:
    """Return the images of the most frequent type, and the others."""
    if not opened:
        return [], []
    dtype = Counter(image.dtype for image in opened).most_common(1)[0][0]
    return (
        [image for image in opened if image.dtype == dtype],
        [image for image in opened if image.dtype != dtype],
    )


def _warn_of_others(
    modality: str, window: tuple[float, float] | None, others: Sequence[OpenedImage]
) -> None:
    """Name the images of a rarer type, which the window is not made for or has been kept from."""
    if window is None:
        others = [image for image in others if image.dtype in (np.uint16, np.float32)]
    if not others:
        return
    names = ", ".join(image.name for image in others[:3])
    more = f" and {len(others) - 3} more" if len(others) > 3 else ""
    types = ", ".join(sorted({str(image.dtype) for image in others}))
    effect = (
        "they get no window, and counts of a camera come out dark"
        if window is None
        else f"the window {window[0]:.6g} to {window[1]:.6g} is not made for them"
    )
    logger.warning(
        f"{modality}: {names}{more} ({types}) differ in type from the other images; {effect}; "
        f"fuse them apart, or give a window: --window {modality}=LOW:HIGH"
    )


class _Sample(NamedTuple):
    pixels: NDArray[Any]
    least: float
    most: float
    colour: bool


def _sample(source: OpenedImage, count: int) -> _Sample:
    """Return an even sample of up to ``count`` pixels, in the memory of a part of the image."""
    height, width = source.size
    rows = max(1, _PART // width) if source.reads_windows else height
    positions: NDArray[np.int64] | None = None
    pixels, least, most, begin, colour = [], math.inf, -math.inf, 0, False
    for top in range(0, height, rows):
        part = source.read_window(slice(top, top + rows), slice(0, width))
        colour = colour or has_colour(part)
        least, most = min(least, float(part.min())), max(most, float(part.max()))
        if positions is None:
            total = height * width * (part.shape[2] if part.ndim == 3 else 1)
            positions = np.linspace(0, total - 1, min(count, total)).astype(np.int64)
        first, last = np.searchsorted(positions, (begin, begin + part.size))
        pixels.append(part.ravel()[positions[first:last] - begin])
        begin += part.size
    return _Sample(np.concatenate(pixels), least, most, colour)
