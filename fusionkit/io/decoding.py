"""Decodes image files into upright arrays, and says what is wrong with a file it cannot decode."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from fusionkit.errors import FusionkitError

__all__ = ["TIFF", "Header", "check_finite", "decode", "decode_pillow", "read_header"]

Array = NDArray[np.generic]

TIFF = (".tif", ".tiff")
"""Suffixes of the files that tifffile reads; Pillow and imagecodecs read the others."""

_ORIENTATION = 0x0112
"""Tag of the orientation in TIFF and EXIF; 1 is upright."""
_ROTATED = (5, 6, 7, 8)
"""Orientations that swap width and height."""

_GREY = ("1", "L", "LA", "La")
_DEEP = ("I;16", "I;16L", "I;16B", "I;16N", "F")
_COLOUR = ("P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr")


class Header(NamedTuple):
    """Size and pixel type of an image file, as ``decode`` will return them.

    Attributes:
        size: (h, w) in pixels, upright.
        dtype: uint8, uint16 or float32.
    """

    size: tuple[int, int]
    dtype: np.dtype[Any]


def decode(path: Path) -> Array:
    """Return the pixels of an existing file.

    Args:
        path: A PNG, JPEG, TIFF or BMP file.

    Returns:
        (h, w) or (h, w, 3); uint8, uint16 or float32; upright.

    Raises:
        FusionkitError: if the file is damaged, can't be read, holds something other than one grey
            or RGB image, or has NaN or infinite pixels.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "grey.png"
        ...     Image.new("L", (4, 2), 128).save(path)
        ...     decode(path).shape
        (2, 4)
    """
    with _decoding(path):
        pixels, orientation = _read_tiff(path) if _is_tiff(path) else _read_with_pillow(path)
    return _oriented(_checked(pixels, path), orientation)


def decode_pillow(image: Image.Image) -> Array:
    """Return the pixels of a Pillow image as ``decode`` returns those of its file.

    Args:
        image: An image of any grey, palette or colour mode. Transparency is dropped, and the
            orientation of the camera (EXIF) is applied.

    Returns:
        (h, w) or (h, w, 3); uint8, uint16 (mode ``I;16``) or float32 (mode ``F``).

    Raises:
        FusionkitError: for any other mode, or NaN or infinite pixels.

    Example:
        >>> decode_pillow(Image.new("RGB", (4, 2))).shape
        (2, 4, 3)
    """
    name = f"the Pillow image {getattr(image, 'filename', '')}".rstrip()
    if image.mode in _DEEP:
        pixels = np.asarray(image)
        pixels = pixels.astype(pixels.dtype.newbyteorder("="))
    else:
        pixels = _pillow_pixels(image, name)
    return _oriented(_checked(pixels, name), _exif_orientation(image))


def read_header(path: Path) -> Header:
    """Return size and type of an existing file without decoding its pixels.

    Args:
        path: A PNG, JPEG, TIFF or BMP file.

    Raises:
        FusionkitError: as ``decode``, for problems that show in the header.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "grey.png"
        ...     Image.new("L", (4, 2), 128).save(path)
        ...     read_header(path)
        Header(size=(2, 4), dtype=dtype('uint8'))
    """
    with _decoding(path):
        if _is_tiff(path):
            with tifffile.TiffFile(path) as file:
                page = _first_page(file)
                height, width = page.imagelength, page.imagewidth
                orientation = _tiff_orientation(page)
                palette = page.photometric == tifffile.PHOTOMETRIC.PALETTE
                stored = page.dtype if page.dtype is not None and not palette else np.uint8
        else:
            with Image.open(path) as image:
                width, height = image.size
                orientation = _exif_orientation(image)
            stored = np.uint16 if _is_deep_png(path) else np.uint8
    size = (width, height) if orientation in _ROTATED else (height, width)
    return Header(size, _decoded_dtype(np.dtype(stored)))


def _decoded_dtype(stored: np.dtype[Any]) -> np.dtype[Any]:
    if stored.kind == "f":
        return np.dtype(np.float32)
    return np.dtype(np.uint16 if stored == np.uint16 else np.uint8)


@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    """Turn any exception of a decoder into a FusionkitError that names the file."""
    log = logging.getLogger("tifffile")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)  # it logs each damaged tag and then raises
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about metadata, which fusion ignores
            yield
    except (FusionkitError, MemoryError):
        raise
    except PermissionError:
        raise FusionkitError(
            f"{path} can't be read: permission denied; allow reading it (chmod +r)"
        ) from None
    except Exception as error:  # each decoder has its own family of errors
        raise FusionkitError(
            f"{path} is damaged or no image: {_short(error)}; get a new copy of it"
        ) from None
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
            # Pillow would reduce 16-bit colour to 8 bits.
            return np.asarray(imagecodecs.png_decode(path.read_bytes())), orientation
        return _pillow_pixels(image, str(path)), orientation


def _pillow_pixels(image: Image.Image, name: str) -> Array:
    if image.mode in _GREY:
        return np.asarray(image.convert("L"))
    if image.mode in _COLOUR:
        return np.asarray(image.convert("RGB"))
    raise FusionkitError(
        f"{name}: expected a grey or RGB image, found Pillow's mode {image.mode}; convert it first"
    )


def _exif_orientation(image: Image.Image) -> int:
    # The base class's method: PngImageFile's own decodes all pixels to look for EXIF after them.
    return Image.Image.getexif(image).get(_ORIENTATION, 1)


def _read_tiff(path: Path) -> tuple[Array, int]:
    with tifffile.TiffFile(path) as file:
        page = _first_page(file)
        pages = len(file.series[0].pages)
        if pages > 1:
            raise FusionkitError(
                f"{path}: expected one image, found a stack of {pages}; save each as a file"
            )
        kind = tifffile.PHOTOMETRIC(page.photometric).name
        pixels = np.asarray(page.asarray())
        if kind == "PALETTE" and page.colormap is not None:
            pixels = (page.colormap[:, pixels] >> 8).astype(np.uint8).transpose(1, 2, 0)
        elif kind not in ("MINISBLACK", "MINISWHITE", "RGB", "YCBCR"):
            raise FusionkitError(
                f"{path}: expected grey, RGB or palette colour, found {kind}; convert it first"
            )
        elif page.bitspersample not in (1, 8, 16, 32, 64):
            raise FusionkitError(
                f"{path}: expected 8 or 16 bits per channel or float, found {page.bitspersample}; "
                f"convert it first"
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
    if orientation in _ROTATED:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _checked(pixels: Array, name: Path | str) -> Array:
    """Return decoded pixels in one of the promised shapes and types."""
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        pixels = pixels[..., : pixels.shape[2] - 1]
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)) or not pixels.size:
        raise FusionkitError(
            f"{name}: expected a grey or RGB image, found an array of shape {pixels.shape}; "
            f"save one image per file"
        )
    if pixels.dtype == np.bool_:
        return pixels.astype(np.uint8) * 255
    if pixels.dtype.kind == "f":
        check_finite(pixels, name)
        return pixels.astype(np.float32)
    if pixels.dtype not in (np.uint8, np.uint16):
        raise FusionkitError(
            f"{name}: expected 8 or 16 bits per channel or float, found {pixels.dtype}; "
            f"convert it first"
        )
    return pixels.astype(pixels.dtype.newbyteorder("="))


def check_finite(pixels: Array, name: Path | str) -> None:
    """Raise FusionkitError if pixels are NaN or infinite; say how many and where.

    Args:
        pixels: (h, w) or (h, w, c) of any type.
        name: What the message calls the image.

    Example:
        >>> check_finite(np.zeros((2, 3)), "black")
    """
    if pixels.dtype.kind != "f":
        return
    bad = ~np.isfinite(pixels if pixels.ndim == 3 else pixels[..., None]).all(axis=-1)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise FusionkitError(
            f"{name}: expected finite pixels, found {int(bad.sum())} pixels that are NaN or "
            f"infinite, the first at row {row}, column {column}; replace them first"
        )


def _short(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "its content has no known image format"
    return " ".join(str(error).split())[:200] or type(error).__name__
