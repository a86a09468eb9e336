"""Decodes image files into upright arrays, and says what is wrong with a file it cannot decode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.MpoImagePlugin import MpoImageFile

from fusionkit.errors import FusionkitError
from fusionkit.io.flir import find_thermal_image
from fusionkit.io.formats import is_tiff, open_with_pillow, read_exif
from fusionkit.io.silence import silence
from fusionkit.io.tiff import open_tiff

__all__ = [
    "Header",
    "check_finite",
    "decode",
    "decode_pillow",
    "decode_window",
    "read_header",
]

Array = NDArray[np.generic]

_ORIENTATION = 0x0112
"""Tag of the orientation in TIFF and EXIF; 1 is upright."""
_ROTATED = (5, 6, 7, 8)
"""Orientations that swap width and height."""
_UPSIDE_DOWN = (3, 4, 7, 8)
"""Orientations whose rows, after the swap, are reversed."""
_MIRRORED = (2, 3, 6, 7)
"""Orientations whose columns, after the swap, are reversed."""

_HEAD = 26
"""First bytes of a file, which tell its format, and whether a PNG has 16 bits."""

_MPO_ENTRIES = 0xB002
"""Tag of the directory of pictures in an MPO file."""

_GREY = ("1", "L", "LA", "La")
_DEEP = ("I;16", "I;16L", "I;16B", "I;16N", "F")
_COLOUR = ("P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr")


class Header(NamedTuple):
    """Size and pixel type of an image file, as ``decode`` will return them.

    Attributes:
        size: (h, w) in pixels, upright.
        dtype: uint8, uint16 or float32.
        reads_windows: Whether ``decode_window`` takes less than decoding the whole.
        radiometric: Whether the pixels are the counts of a thermal camera, beside which the file
            shows a preview.
        previews: Number of smaller copies in the file, which are passed over.
    """

    size: tuple[int, int]
    dtype: np.dtype[Any]
    reads_windows: bool = False
    radiometric: bool = False
    previews: int = 0


def decode(path: Path) -> Array:
    """Return the pixels of an existing file.

    Args:
        path: A file with one of ``SUFFIXES``.

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
    with _decoding(path), path.open("rb") as file:
        head = file.read(_HEAD)
        if is_tiff(head):
            with open_tiff(path) as picture:
                pixels, orientation = picture.read(), picture.orientation
        else:
            pixels, orientation = _read_with_pillow(path, file, head)
    return _checked(_oriented(pixels, orientation), path)


def decode_window(path: Path, rows: slice, columns: slice) -> Array:
    """Return a part of the pixels of an existing file, as ``decode`` returns all of them.

    Of a TIFF only the strips or tiles that the window touches are read, so a row of windows costs
    least if each is as wide as the image. Other formats, and a TIFF that is compressed in one
    piece, are decoded whole.

    Args:
        path: An image file.
        rows: Rows of the upright image; a stop beyond the last row is taken as the last.
        columns: Columns, likewise. Steps other than 1 and negative numbers are not allowed.

    Raises:
        FusionkitError: as ``decode``, and for a window that holds no pixel.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "grey.png"
        ...     Image.new("L", (40, 20), 128).save(path)
        ...     decode_window(path, slice(10, 15), slice(0, 8)).shape
        (5, 8)
    """
    with _decoding(path), path.open("rb") as file:
        head = file.read(_HEAD)
    if not is_tiff(head):
        image = decode(path)
        rows, columns = _inside(rows, image.shape[0], path), _inside(columns, image.shape[1], path)
        return np.ascontiguousarray(image[rows, columns])
    with _decoding(path), open_tiff(path) as picture:
        orientation = picture.orientation
        height, width = _upright_size(picture.size, orientation)
        rows, columns = _inside(rows, height, path), _inside(columns, width, path)
        stored = (
            _flipped(rows, height, orientation, _UPSIDE_DOWN),
            _flipped(columns, width, orientation, _MIRRORED),
        )
        pixels = picture.read(*(stored[::-1] if orientation in _ROTATED else stored))
    return _checked(_oriented(pixels, orientation), path, (rows.start, columns.start))


def _inside(part: slice, length: int, path: Path) -> slice:
    start, stop = part.start or 0, length if part.stop is None else min(part.stop, length)
    if part.step not in (None, 1) or not 0 <= start < stop:
        raise FusionkitError(
            f"{path}: expected a window inside {length} rows or columns, found {start} to "
            f"{part.stop}"
        )
    return slice(start, stop)


def _flipped(part: slice, length: int, orientation: int, flips: tuple[int, ...]) -> slice:
    return slice(length - part.stop, length - part.start) if orientation in flips else part


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
    return _checked(_oriented(pixels, Image.Image.getexif(image).get(_ORIENTATION, 1)), name)


def read_header(path: Path) -> Header:
    """Return size and type of an existing file without decoding its pixels.

    Args:
        path: A file with one of ``SUFFIXES``.

    Raises:
        FusionkitError: as ``decode``, for problems that show in the header.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "grey.png"
        ...     Image.new("L", (4, 2), 128).save(path)
        ...     read_header(path).size
        (2, 4)
    """
    with _decoding(path), path.open("rb") as file:
        head = file.read(_HEAD)
        if is_tiff(head):
            with open_tiff(path) as picture:
                size = _upright_size(picture.size, picture.orientation)
                return Header(size, _decoded_dtype(picture.dtype, path), picture.reads_windows)
        thermal = find_thermal_image(path) if _is_jpeg(head) else None
        file.seek(0)
        with open_with_pillow(path, file) as image:
            orientation = _orientation(image)
            if thermal is not None:
                size = _upright_size(thermal.size, orientation)
                return Header(size, np.dtype(np.uint16), radiometric=True)
            previews = _check_single(image, path)
            size = _upright_size((image.height, image.width), orientation)
    dtype = np.dtype(np.uint16 if _is_deep_png(head) else np.uint8)
    return Header(size, dtype, previews=previews)


def _upright_size(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    return (size[1], size[0]) if orientation in _ROTATED else size


def _decoded_dtype(stored: np.dtype[Any], name: Path | str) -> np.dtype[Any]:
    """Return the type of the pixels that we return for a stored type."""
    if stored.kind == "f":
        return np.dtype(np.float32)
    if stored == np.bool_:
        return np.dtype(np.uint8)
    if stored not in (np.uint8, np.uint16):
        raise FusionkitError(
            f"{name}: expected 8 or 16 bits per channel or float, found {stored}; convert it first"
        )
    return stored.newbyteorder("=")


@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    """Turn any exception of a decoder into a FusionkitError that names the file."""
    try:
        with silence:
            yield
    except FusionkitError:
        raise
    except MemoryError:
        raise FusionkitError(
            f"{path}: there is not enough memory for its pixels; close other programs, or scale or "
            f"crop the image"
        ) from None
    except Image.DecompressionBombError as error:
        raise FusionkitError(
            f"{path}: {_short(error)}; convert it to TIFF, which is read at any size"
        ) from None
    except PermissionError:
        raise FusionkitError(
            f"{path} can't be read: permission denied; allow reading it (chmod +r)"
        ) from None
    except Exception as error:  # each decoder has its own family of errors
        raise FusionkitError(
            f"{path} is damaged or no image: {_short(error)}; get a new copy of it"
        ) from None


def _is_jpeg(head: bytes) -> bool:
    return head.startswith(b"\xff\xd8")


def _is_deep_png(head: bytes) -> bool:
    # Byte 24 of a PNG is the bit depth in its IHDR chunk.
    return head[:8] == b"\x89PNG\r\n\x1a\n" and len(head) == 26 and head[24] == 16


def _read_with_pillow(path: Path, file: IO[bytes], head: bytes) -> tuple[Array, int]:
    thermal = find_thermal_image(path) if _is_jpeg(head) else None
    file.seek(0)
    with open_with_pillow(path, file) as image:
        orientation = _orientation(image)
        if thermal is not None:
            return thermal.read(), orientation
        _check_single(image, path)
        if _is_deep_png(head):
            # Pillow would reduce 16-bit colour to 8 bits.
            file.seek(0)
            return np.asarray(imagecodecs.png_decode(file.read())), orientation
        return _pillow_pixels(image, str(path)), orientation


def _check_single(image: Image.Image, path: Path) -> int:
    """Return the number of previews beside the one picture of a file.

    Raises:
        FusionkitError: if there are several pictures, such as the frames of an animation.
    """
    count = getattr(image, "n_frames", 1)
    if count == 1:
        return 0
    if not isinstance(image, MpoImageFile):
        source = f"apng:{path.name}" if image.format == "PNG" else path.name
        raise FusionkitError(
            f"{path}: expected one image, found an animation of {count}; split it first, for "
            f"example by `magick {source} -coalesce {path.stem}-%d.png`"
        )
    assert image.mpinfo is not None
    size, full = image.size, 1
    for number in range(1, count):
        kind = image.mpinfo[_MPO_ENTRIES][number]["Attribute"]["MPType"]
        image.seek(number)
        smaller = image.size[0] < size[0] and image.size[1] < size[1]
        full += not (smaller or kind.startswith("Large Thumbnail"))
    image.seek(0)
    if full > 1:
        raise FusionkitError(
            f"{path}: expected one image, found {full} of full size in the file (MPO); split it "
            f"first, for example by `exiftool -b -MPImage2 {path.name} > {path.stem}-2.jpg`"
        )
    return count - 1


def _pillow_pixels(image: Image.Image, name: str) -> Array:
    if image.mode in _GREY:
        return np.asarray(image.convert("L"))
    if image.mode in _COLOUR:
        return np.asarray(image.convert("RGB"))
    raise FusionkitError(
        f"{name}: expected a grey or RGB image, found Pillow's mode {image.mode}; convert it first"
    )


def _orientation(image: Image.Image) -> int:
    return read_exif(image).get(_ORIENTATION, 1)


def _oriented(pixels: Array, orientation: int) -> Array:
    """Turn an image upright."""
    if orientation in _ROTATED:
        pixels = pixels.swapaxes(0, 1)
    if orientation in _UPSIDE_DOWN:
        pixels = pixels[::-1]
    if orientation in _MIRRORED:
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _checked(pixels: Array, name: Path | str, corner: tuple[int, int] = (0, 0)) -> Array:
    """Return decoded pixels, maybe those of a window at a corner, in a promised shape and type."""
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        pixels = pixels[..., : pixels.shape[2] - 1]
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)) or not pixels.size:
        raise FusionkitError(
            f"{name}: expected a grey or RGB image, found an array of shape {pixels.shape}; "
            f"save one image per file"
        )
    dtype = _decoded_dtype(pixels.dtype, name)
    if pixels.dtype.kind == "b":
        return pixels.astype(dtype) * 255
    if pixels.dtype.kind == "f":
        check_finite(pixels, name, corner)
    return pixels.astype(dtype)


def check_finite(pixels: Array, name: Path | str, corner: tuple[int, int] = (0, 0)) -> None:
    """Raise FusionkitError if pixels are NaN or infinite; say how many and where.

    Args:
        pixels: (h, w) or (h, w, c) of any type.
        name: What the message calls the image.
        corner: Row and column of the image at which the pixels begin.

    Example:
        >>> check_finite(np.zeros((2, 3)), "black")
    """
    if pixels.dtype.kind != "f":
        return
    bad = ~np.isfinite(pixels if pixels.ndim == 3 else pixels[..., None]).all(axis=-1)
    if bad.any():
        row, column = np.argwhere(bad)[0] + corner
        raise FusionkitError(
            f"{name}: expected finite pixels, found {int(bad.sum())} pixels that are NaN or "
            f"infinite, the first at row {row}, column {column}; replace them first"
        )


def _short(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "its content has no known image format"
    return " ".join(str(error).split())[:200] or type(error).__name__
