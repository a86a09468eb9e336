"""Image files: PNG, JPEG, TIFF and BMP, 8 and 16 bit or float, grey and colour."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from fusionkit.errors import FusionkitError
from fusionkit.files import replacing

__all__ = [
    "SUFFIXES",
    "from_float",
    "image_size",
    "list_images",
    "read_image",
    "to_float",
    "write_image",
]

Array = NDArray[np.generic]

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
"""The file formats that are read and written."""

_TIFF = (".tif", ".tiff")
_EIGHT_BIT_ONLY = (".jpg", ".jpeg", ".bmp")
_ORIENTATION = 0x0112
"""Tag of TIFF and EXIF: 1 is upright, 5 to 8 lie on their side."""


def read_image(path: Path) -> Array:
    """Read an image as it is stored.

    Transparency is dropped, a palette is expanded, the orientation of the camera (EXIF) applied.
    Grey stored as RGB stays RGB.

    Returns:
        (h, w) or (h, w, 3); uint8, uint16, or float32 for TIFF with floating-point pixels.

    Raises:
        FusionkitError: if there is no such file, it is damaged, of an unknown format, or holds
            NaN or infinite values.
    """
    _check_file(path)
    with _decoding(path):
        pixels, orientation = _read_tiff(path) if _is_tiff(path) else _read_with_pillow(path)
    return _oriented(_checked(pixels, path), orientation)


def write_image(path: Path, image: Array) -> None:
    """Write an image; the suffix says the format; the file appears whole or not at all.

    Args:
        path: ``.png`` (8, 16 bit), ``.jpg`` or ``.bmp`` (8 bit), ``.tif`` (8, 16 bit, float32).
        image: (h, w) or (h, w, 3).

    Raises:
        FusionkitError: if the format can't hold the image, or the folder can't be written.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise FusionkitError(
            f"{path}: expected one of the formats {', '.join(SUFFIXES)}, found {suffix or 'none'}"
        )
    if image.dtype not in (np.uint8, np.uint16, np.float32):
        raise FusionkitError(f"{path}: expected uint8, uint16 or float32, found {image.dtype}")
    if suffix in _EIGHT_BIT_ONLY and image.dtype != np.uint8:
        raise FusionkitError(
            f"{path}: {suffix} holds 8 bits per channel, the image is {image.dtype}; "
            f"write .png or .tif"
        )
    if suffix == ".png" and image.dtype == np.float32:
        raise FusionkitError(f"{path}: .png holds no floating-point pixels; write .tif")
    if not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)) or not image.size:
        raise FusionkitError(
            f"{path}: expected an image of shape (h, w) or (h, w, 3), found {image.shape}"
        )
    image = np.ascontiguousarray(image)
    with replacing(path) as temporary:
        if suffix in _TIFF:
            kind = "rgb" if image.ndim == 3 else "minisblack"
            tifffile.imwrite(temporary, image, photometric=kind)
        elif image.dtype == np.uint16:
            temporary.write_bytes(imagecodecs.png_encode(image))
        elif suffix in (".jpg", ".jpeg"):
            Image.fromarray(image).save(temporary, quality=95, subsampling=0)
        else:
            Image.fromarray(image).save(temporary)


def image_size(path: Path) -> tuple[int, int]:
    """Return (h, w) from the header of a file, as ``read_image`` would give them.

    Raises:
        FusionkitError: as ``read_image``, for what the header shows.
    """
    _check_file(path)
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
    return (width, height) if orientation >= 5 else (height, width)


def list_images(folder: Path) -> dict[str, Path]:
    """Return stem -> path of the images in a folder, sorted by stem.

    Raises:
        FusionkitError: if it is no folder, has no images, or two of one stem.
    """
    try:
        if not folder.exists():
            raise FusionkitError(f"there is no folder {folder}")
        if not folder.is_dir():
            raise FusionkitError(f"expected a folder of images, found the file {folder}")
        paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
    except PermissionError:
        raise FusionkitError(f"the folder {folder} can't be read: permission denied") from None
    # Files that begin with a dot are other programs' leftovers.
    paths = [path for path in paths if not path.name.startswith(".")]
    if not paths:
        raise FusionkitError(f"the folder {folder} has no images ({', '.join(SUFFIXES)})")
    images: dict[str, Path] = {}
    for path in paths:
        if path.stem in images:
            raise FusionkitError(
                f"the folder {folder} has two images called {path.stem!r}: "
                f"{images[path.stem].name} and {path.name}"
            )
        images[path.stem] = path
    return dict(sorted(images.items()))


def to_float(image: Array) -> NDArray[np.float32]:
    """Return pixels as float32 in [0, 1], scaled by the range of their type.

    Raises:
        FusionkitError: for a type that has no such range, NaN, or floats outside [0, 1].
    """
    if image.dtype == np.uint8:
        return image.astype(np.float32) / 255
    if image.dtype == np.uint16:
        return image.astype(np.float32) / 65535
    if image.dtype not in (np.float16, np.float32, np.float64):
        raise FusionkitError(
            f"expected an image of uint8, uint16 or float in [0, 1], found {image.dtype}"
        )
    if not np.isfinite(image).all():
        raise FusionkitError("the image has NaN or infinite values")
    low, high = float(image.min()), float(image.max())
    if low < 0 or high > 1:
        raise FusionkitError(
            f"expected float pixels in [0, 1], found {low:g} to {high:g}; scale the image first"
        )
    return image.astype(np.float32)


def from_float(image: NDArray[np.floating], dtype: np.dtype | type) -> Array:
    """Return pixels in [0, 1] as a type of image: rounded and saturated; floats stay."""
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return image.astype(dtype)
    top = np.iinfo(dtype).max
    return np.clip(np.rint(image.astype(np.float64) * top), 0, top).astype(dtype)


def _check_file(path: Path) -> None:
    try:
        if not path.exists():
            raise FusionkitError(f"there is no image {path}")
        if path.is_dir():
            raise FusionkitError(f"expected an image, found the folder {path}")
    except PermissionError:
        raise FusionkitError(f"{path} can't be read: permission denied") from None
    if path.suffix.lower() not in SUFFIXES:
        raise FusionkitError(
            f"{path}: expected one of the formats {', '.join(SUFFIXES)}, "
            f"found {path.suffix or 'no suffix'}"
        )


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
    return path.suffix.lower() in _TIFF


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
        if image.mode in ("1", "LA", "La"):
            return np.asarray(image.convert("L")), orientation
        if image.mode != "L":
            return np.asarray(image.convert("RGB")), orientation
        return np.asarray(image), orientation


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
    if orientation in (5, 6, 7, 8):
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
        bad = ~np.isfinite(pixels)
        if bad.any():
            row, column = np.argwhere(bad)[0][:2]
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
