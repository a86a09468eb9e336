"""Display windows: which values of a sensor become black and white.

A thermal camera counts in a small part of 16 bits, or gives kelvin. Scaled by the range of its
type such an image is flat grey. One window holds for all images of a folder, so that a video does
not flicker.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fusionkit.errors import FusionkitError, nearest
from fusionkit.io.images import has_colour, image_dtype, read_image

__all__ = ["apply_window", "check_windows", "find_windows", "split_windows"]

DEFAULT = (0.5, 99.5)
"""Percentiles that become 0 and 1 if a source needs a window and none is given."""
_NARROW = 0.25
"""A 16-bit source needs one if its percentiles span less than this part of the type's range."""
_SAMPLE = 1 << 24
"""Pixels at most, of all images together, that percentiles are taken of."""


class _Asked(NamedTuple):
    low: float
    high: float
    percent: bool


def split_windows(options: Sequence[str]) -> dict[str, str]:
    """Return modality -> window from ``MODALITY=WINDOW`` as the command line has it.

    Raises:
        FusionkitError: for what has another form, or a modality that is there twice.
    """
    windows: dict[str, str] = {}
    for option in options:
        modality, _, text = option.partition("=")
        if not (modality and text):
            raise FusionkitError(
                f"expected --window MODALITY=LOW:HIGH, MODALITY=LOW%:HIGH% or MODALITY=full, "
                f"found {option!r}"
            )
        if modality in windows:
            raise FusionkitError(f"--window {modality}=... is there twice")
        windows[modality] = text
    return windows


def check_windows(
    windows: Mapping[str, str | tuple[float, float]], modalities: Sequence[str]
) -> None:
    """Refuse windows of sources that aren't there, and such as hold no values.

    Raises:
        FusionkitError: naming the modality.
    """
    for modality, window in windows.items():
        if modality not in modalities:
            raise FusionkitError(
                f"windows: expected one of the sources {', '.join(modalities)}, "
                f"found {modality!r}" + nearest(modality, modalities)
            )
        _parse(modality, window)


def apply_window(image: NDArray[Any], window: tuple[float, float]) -> NDArray[np.float32]:
    """Return pixels as float32 in [0, 1]: ``low`` becomes 0, ``high`` 1, what is beyond saturates.

    Args:
        image: (h, w) or (h, w, 3); uint8, uint16 or float of any range.
        window: (low, high) in the image's own units.

    Raises:
        FusionkitError: for another type, or NaN.
    """
    if image.dtype not in (np.uint8, np.uint16, np.float16, np.float32, np.float64):
        raise FusionkitError(f"expected an image of uint8, uint16 or float, found {image.dtype}")
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise FusionkitError("the image has NaN or infinite values")
    low, high = window
    return np.clip((image.astype(np.float64) - low) / (high - low), 0, 1).astype(np.float32)


def find_windows(
    sources: Mapping[str, Sequence[Path]], asked: Mapping[str, str | tuple[float, float]]
) -> tuple[dict[str, tuple[float, float]], list[str]]:
    """Return the window of each source that has one, and what is to be said of those measured.

    Percentiles are taken of all pixels of all images of a source together; of an even sample of
    16 million where there are more. A source that nothing is asked for gets those from 0.5 % to
    99.5 % if all its images are grey and either uint16, with these percentiles less than a quarter
    of the range apart, or float, with values outside [0, 1]. Images of 8 bits are not read.

    Args:
        sources: Modality -> files.
        asked: Modality -> (low, high), or ``LOW:HIGH``, ``LOW%:HIGH%``, ``full``.

    Raises:
        FusionkitError: for a file that can't be read, or a window without values in it.
    """
    check_windows(asked, list(sources))
    windows: dict[str, tuple[float, float]] = {}
    said: list[str] = []
    for modality, paths in sources.items():
        wanted = _parse(modality, asked[modality]) if modality in asked else None
        if modality in asked and wanted is None:
            continue  # full
        if wanted is not None and not wanted.percent:
            windows[modality] = wanted.low, wanted.high
            continue
        percentiles = DEFAULT if wanted is None else (wanted.low, wanted.high)
        found = _measure(modality, paths, percentiles, chosen=wanted is None)
        if found is None:
            continue
        windows[modality] = found
        images = f"{len(paths)} image{'s' if len(paths) > 1 else ''}"
        said.append(
            f"{modality}: values {found[0]:.6g} to {found[1]:.6g} ({percentiles[0]:g} % to "
            f"{percentiles[1]:g} % of {images}) become 0 to 1"
            + (f"; another window: --window {modality}=LOW:HIGH" if wanted is None else "")
        )
    return windows, said


def _parse(modality: str, window: str | tuple[float, float]) -> _Asked | None:
    """Return what a window asks for; None for the whole range of the type."""
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
            f"found {low:g} and {high:g}"
        )
    if percent and not (low >= 0 and high <= 100):
        raise FusionkitError(
            f"the window of {modality}: expected percentiles from 0% to 100%, found {window!r}"
        )
    return _Asked(low, high, percent)


def _measure(
    modality: str, paths: Sequence[Path], percentiles: tuple[float, float], *, chosen: bool
) -> tuple[float, float] | None:
    """Return percentiles of a set; None if it needs no window and was not asked for one."""
    types = {str(image_dtype(path)) for path in paths}
    if chosen and types not in ({"uint16"}, {"float32"}):
        return None
    if len(types) > 1:
        raise FusionkitError(
            f"the window of {modality}: expected images of one type, found "
            f"{', '.join(sorted(types))}; percentiles of different units mean nothing"
        )
    count = max(1, _SAMPLE // len(paths))
    samples, least, most = [], math.inf, -math.inf
    for path in paths:
        image = read_image(path)
        if chosen and has_colour(image):
            return None
        least, most = min(least, float(image.min())), max(most, float(image.max()))
        pixels = image.ravel()
        if pixels.size > count:
            pixels = pixels[np.linspace(0, pixels.size - 1, count).astype(np.int64)]
        samples.append(pixels)
    low, high = (float(v) for v in np.percentile(np.concatenate(samples), percentiles))
    if chosen and types == {"uint16"} and high - low >= _NARROW * np.iinfo(np.uint16).max:
        return None
    if chosen and types == {"float32"} and least >= 0 and most <= 1:
        return None
    if low < high:
        return low, high
    if chosen and types == {"uint16"}:
        return None  # an image of one value has nothing to show
    raise FusionkitError(
        f"{modality}: the values at {percentiles[0]:g} % and {percentiles[1]:g} % of "
        f"{len(paths)} image{'s' if len(paths) > 1 else ''} are both {low:.6g}; "
        f"give a window in the file's own units: --window {modality}=LOW:HIGH"
    )
