"""Image files: PNG, JPEG, TIFF and BMP, 8 and 16 bit or float, grey and colour."""

from __future__ import annotations

import warnings
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

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


def read_image(path: Path) -> Array:
    """Read an image as it is stored.

    Transparency is dropped, a palette is expanded, the orientation of the camera (EXIF) applied.

    Returns:
        (h, w) or (h, w, 3); uint8, uint16, or float32 for TIFF with floating-point pixels.

    Raises:
        FusionkitError: if there is no such file, it is damaged, of an unknown format, or holds
            NaN or infinite values.
    """
    _check_file(path)
    try:
        if path.suffix.lower() in _TIFF:
            pixels = np.asarray(tifffile.imread(path))
        elif path.suffix.lower() == ".png" and _is_deep_png(path):
            # Pillow would cut 16-bit colour down to 8 bits.
            pixels = np.asarray(imagecodecs.png_decode(path.read_bytes()))
        else:
            pixels = _read_with_pillow(path)
    except FusionkitError:
        raise
    except PermissionError:
        raise FusionkitError(f"{path} can't be read: permission denied") from None
    except MemoryError:
        raise
    except Exception as error:  # each decoder has its own family of errors for damaged files
        raise FusionkitError(f"{path} is damaged or no image: {_short(error)}") from None
    return _checked(pixels, path)


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
    image = np.ascontiguousarray(image)
    with replacing(path) as temporary:
        if suffix in _TIFF:
            tifffile.imwrite(temporary, image, photometric="rgb" if image.ndim == 3 else None)
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
    try:
        if path.suffix.lower() in _TIFF:
            with tifffile.TiffFile(path) as file:
                page = file.pages.first
                return page.imagelength, page.imagewidth
        with Image.open(path) as image:
            width, height = image.size
            # Orientations 5 to 8 lie on their side.
            turned = image.getexif().get(0x0112, 1) >= 5
    except PermissionError:
        raise FusionkitError(f"{path} can't be read: permission denied") from None
    except Exception as error:  # as in read_image
        raise FusionkitError(f"{path} is damaged or no image: {_short(error)}") from None
    return (width, height) if turned else (height, width)


def list_images(folder: Path) -> dict[str, Path]:
    """Return stem -> path of the images in a folder, sorted by stem.

    Raises:
        FusionkitError: if it is no folder, has no images, or two of one stem.
    """
    if not folder.exists():
        raise FusionkitError(f"there is no folder {folder}")
    if not folder.is_dir():
        raise FusionkitError(f"expected a folder of images, found the file {folder}")
    try:
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
    if not path.exists():
        raise FusionkitError(f"there is no image {path}")
    if path.is_dir():
        raise FusionkitError(f"expected an image, found the folder {path}")
    if path.suffix.lower() not in SUFFIXES:
        raise FusionkitError(
            f"{path}: expected one of the formats {', '.join(SUFFIXES)}, "
            f"found {path.suffix or 'no suffix'}"
        )


def _is_deep_png(path: Path) -> bool:
    with path.open("rb") as file:
        header = file.read(26)
    # Byte 24 of a PNG is the bit depth in its IHDR chunk.
    return header[:8] == b"\x89PNG\r\n\x1a\n" and len(header) == 26 and header[24] == 16


def _read_with_pillow(path: Path) -> Array:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about metadata, of no use to someone who fuses images
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode in ("1", "LA", "La"):
                image = image.convert("L")
            elif image.mode in ("P", "PA"):
                image = image.convert("RGB")
            elif image.mode in ("RGBA", "RGBX", "RGBa", "CMYK", "YCbCr"):
                image = image.convert("RGB")
            return np.asarray(image)


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
    if pixels.dtype == np.int32 and pixels.min() >= 0 and pixels.max() <= 65535:
        return pixels.astype(np.uint16)  # Pillow's mode I, for 16-bit files
    if pixels.dtype not in (np.uint8, np.uint16):
        raise FusionkitError(
            f"{path}: expected 8 or 16 bits per channel or float, found {pixels.dtype}"
        )
    return pixels.astype(pixels.dtype.newbyteorder("="))


def _short(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "its content is of no known format"
    return " ".join(str(error).split())[:200] or type(error).__name__
