"""How many pixels may be decoded at once, so that a small file can't take all memory."""

from __future__ import annotations

import os
from pathlib import Path

from fusionkit.errors import FusionkitError

__all__ = ["VARIABLE", "check_pixels"]

VARIABLE = "FUSIONKIT_MAX_PIXELS"
"""Environment variable with the limit, so that workers in other processes have it too."""

_DEFAULT = 2**29


def check_pixels(path: Path, height: int, width: int) -> None:
    """Refuse too many pixels before they are decoded.

    A TIFF file is read by parts, so its whole image may have more. The limit is 2^29 (23170 x
    23170) unless the environment variable FUSIONKIT_MAX_PIXELS sets it.

    Raises:
        FusionkitError: if there are more pixels, or the variable is no positive number.

    Example:
        >>> check_pixels(Path("a.tif"), 20_000, 20_000)
        >>> check_pixels(Path("a.tif"), 40_000, 40_000)
        Traceback (most recent call last):
        fusionkit.errors.FusionkitError: a.tif: expected at most ...
    """
    text = os.environ.get(VARIABLE, str(_DEFAULT))
    if not text.isdecimal() or int(text) < 1:
        raise FusionkitError(f"{VARIABLE}: expected a number of pixels, found {text!r}")
    if height * width > int(text):
        raise FusionkitError(
            f"{path}: expected at most {int(text):,} pixels at once, found {height * width:,} "
            f"({height} x {width}); if you trust the file, raise the limit by --max-pixels or "
            f"{VARIABLE}"
        )
