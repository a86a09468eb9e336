"""Decodes image files into arrays, upright, and names what is wrong with those it can't."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from fusionkit.errors import FusionkitError

__all__ = ["TIFF", "decode", "decoded_dtype", "decoded_size"]

Array = NDArray[np.generic]

TIFF = (".tif", ".tiff")
"""Suffixes of what tifffile reads; Pillow and imagecodecs read the others by their content."""

_ORIENTATION = 0x0112
"""Tag of TIFF and EXIF; 1 is upright."""
_LYING = (5, 6, 7, 8)
"""Orientations whose width and height change places."""

_GREY = ("1", "L", "LA", "La")
_COLOUR = ("P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr")


def decode(path: Path) -> Array:
    """Return the pixels of an existing file.

    Returns:
        (h, w) or (h, w, 3); uint8, uint16 or float32.

    Raises:
        FusionkitError: if it is damaged, can't be read, or holds something else.
    """
    with _decoding(path):
        pixels, orientation = _read_tiff(path) if _is_tiff(path) else _read_with_pillow(path)
    return _oriented(_checked(pixels, path), orientation)


def decoded_size(path: Path) -> tuple[int, int]:
    """Return the (h, w) that ``decode`` would give, from the header alone.

    Raises:
        FusionkitError: as ``decode``, for what the header shows.
    """
    with _decoding(path):
        if _is_tiff(path):
            with tifffile.TiffFile(path) as file:
                page = _first_page(file)
                height, width = page.imagelength, page.imagewidth
                orientation = _tiff_orientation(page)
        else:
            with Image.open(path) as image:
                width, height = image.size
                orientation = _exif_orientation(image)
    return (width, height) if orientation in _LYING else (height, width)


def decoded_dtype(path: Path) -> np.dtype[Any]:
    """Return the type that ``decode`` would give, from the header alone.

    Raises:
        FusionkitError: if it is damaged.
    """
    with _decoding(path):
        if _is_tiff(path):
            with tifffile.TiffFile(path) as file:
                page = _first_page(file)
                stored = page.dtype
                if page.photometric == tifffile.PHOTOMETRIC.PALETTE or stored is None:
                    return np.dtype(np.uint8)
        else:
            stored = np.dtype(np.uint16 if _is_deep_png(path) else np.uint8)
    if stored.kind == "f":
        return np.dtype(np.float32)
    return np.dtype(np.uint16 if stored == np.uint16 else np.uint8)


@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    """Turn whatever a decoder throws at a damaged file into one sentence of ours."""
    log = logging.getLogger("tifffile")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)  # it logs each damaged tag on top of raising
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about metadata, of no use to who fuses images
            yield
    except (FusionkitError, MemoryError):
        raise
    except PermissionError:
        raise FusionkitError(f"{path} can't be read: permission denied") from None
    except Exception as error:  # each decoder has its own family of errors
        raise FusionkitError(f"{path} is damaged or no image: {_short(error)}") from None
    finally:
        log.setLevel(level)


def _is_tiff(path: Path) -> bool:
    return path.suffix.lower() in TIFF


def _is_deep_png(path: Path) -> bool:
    with path.open("rb") as file:
        header = file.read(26)
    # Byte 24 of a PNG is the bit depth in its IHDR chunk.
    return header[:8] == b"\x89PNG\r\n\x1a\n" and len(header) == 26 and header[24] == 16


def _read_with_pillow(path: Path) -> tuple[Array, int]:
    with Image.open(path) as image:
        orientation = _exif_orientation(image)
        if _is_deep_png(path):
            # Pillow would cut 16-bit colour down to 8 bits.
            return np.asarray(imagecodecs.png_decode(path.read_bytes())), orientation
        if image.mode in _GREY:
            return np.asarray(image.convert("L")), orientation
        if image.mode in _COLOUR:
            return np.asarray(image.convert("RGB")), orientation
        raise FusionkitError(f"{path}: expected grey or RGB, found pixels of mode {image.mode}")


def _exif_orientation(image: Image.Image) -> int:
    # The method of the base class: that of a PNG decodes all pixels to look for EXIF behind them.
    return Image.Image.getexif(image).get(_ORIENTATION, 1)


def _read_tiff(path: Path) -> tuple[Array, int]:
    with tifffile.TiffFile(path) as file:
        page = _first_page(file)
        pages = len(file.series[0].pages)
        if pages > 1:
            raise FusionkitError(f"{path} is a stack of {pages} images; save each as a file")
        kind = tifffile.PHOTOMETRIC(page.photometric).name
        pixels = np.asarray(page.asarray())
        if kind == "PALETTE" and page.colormap is not None:
            pixels = (page.colormap[:, pixels] >> 8).astype(np.uint8).transpose(1, 2, 0)
        elif kind not in ("MINISBLACK", "MINISWHITE", "RGB", "YCBCR"):
            raise FusionkitError(f"{path}: expected grey, RGB or palette colour, found {kind}")
        elif page.bitspersample not in (1, 8, 16, 32, 64):
            raise FusionkitError(
                f"{path}: expected 8 or 16 bits per channel or float, found {page.bitspersample}"
            )
        if kind == "MINISWHITE":
            pixels = ~pixels if pixels.dtype.kind in "bu" else 1 - pixels
        if page.axes == "SYX":  # colour planes one after the other
            pixels = np.moveaxis(pixels, 0, -1)
        return pixels, _tiff_orientation(page)


def _first_page(file: tifffile.TiffFile) -> tifffile.TiffPage:
    page = file.pages.first
    assert isinstance(page, tifffile.TiffPage)  # only later ones can be light TiffFrames
    return page


def _tiff_orientation(page: tifffile.TiffPage) -> int:
    tag = page.tags.get(_ORIENTATION)
    return 1 if tag is None else int(tag.value)


def _oriented(pixels: Array, orientation: int) -> Array:
    """Turn an image upright."""
    if orientation in _LYING:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _checked(pixels: Array, path: Path) -> Array:
    """Bring what a decoder gave into one of the shapes and types promised."""
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        pixels = pixels[..., : pixels.shape[2] - 1]
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)) or not pixels.size:
        raise FusionkitError(
            f"{path}: expected a grey or RGB image, found an array of shape {pixels.shape}"
        )
    if pixels.dtype == np.bool_:
        return pixels.astype(np.uint8) * 255
    if pixels.dtype.kind == "f":
        bad = ~np.isfinite(pixels if pixels.ndim == 3 else pixels[..., None]).all(axis=-1)
        if bad.any():
            row, column = np.argwhere(bad)[0]
            raise FusionkitError(
                f"{path}: {int(bad.sum())} pixels are NaN or infinite, "
                f"the first at row {row}, column {column}"
            )
        return pixels.astype(np.float32)
    if pixels.dtype not in (np.uint8, np.uint16):
        raise FusionkitError(
            f"{path}: expected 8 or 16 bits per channel or float, found {pixels.dtype}"
        )
    return pixels.astype(pixels.dtype.newbyteorder("="))


def _short(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "its content is of no known format"
    return " ".join(str(error).split())[:200] or type(error).__name__
