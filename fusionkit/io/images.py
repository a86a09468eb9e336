"""Image files: PNG, JPEG, TIFF and BMP, 8 and 16 bit or float, grey and colour."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import DTypeLike, NDArray
from PIL import Image

from fusionkit.errors import FusionkitError
from fusionkit.io.atomic_write import atomic_write
from fusionkit.io.decoding import TIFF, decode, decoded_dtype, decoded_size
from fusionkit.io.metadata import Metadata, add_to_png, add_to_tiff, tiff_tags

__all__ = [
    "SUFFIXES",
    "from_float",
    "has_colour",
    "image_dtype",
    "image_size",
    "list_images",
    "read_image",
    "to_float",
    "write_image",
]

Array = NDArray[np.generic]

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
"""The file formats that are read and written."""

_EIGHT_BIT_ONLY = (".jpg", ".jpeg", ".bmp")


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
    return decode(path)


def write_image(path: Path, image: Array, metadata: Metadata | None = None) -> None:
    """Write an image; the suffix says the format; the file appears whole or not at all.

    Args:
        path: ``.png`` (8, 16 bit), ``.jpg`` or ``.bmp`` (8 bit), ``.tif`` (8, 16 bit, float32).
        image: (h, w) or (h, w, 3).
        metadata: Written beside the pixels, with orientation 1; ``.bmp`` holds none.

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
    with atomic_write(path) as temporary:
        if suffix in TIFF:
            _write_tiff(temporary, image, metadata)
        else:
            _write_other(temporary, image, suffix, metadata or Metadata())


def _write_tiff(path: Path, image: Array, metadata: Metadata | None) -> None:
    kind = "rgb" if image.ndim == 3 else "minisblack"
    tags = tiff_tags(metadata or Metadata())
    if metadata is None or metadata == Metadata():
        tifffile.imwrite(path, image, photometric=kind)
        return
    # No note of the array's shape in the description, which is the camera's.
    tifffile.imwrite(path, image, photometric=kind, metadata=None, software=False, extratags=tags)
    add_to_tiff(path, metadata, image.shape[:2])


def _write_other(path: Path, image: Array, suffix: str, metadata: Metadata) -> None:
    size = image.shape[:2]
    if image.dtype == np.uint16:
        path.write_bytes(add_to_png(bytes(imagecodecs.png_encode(image)), metadata, size))
        return
    kept: dict[str, Any] = {"exif": metadata.exif(size), "icc_profile": metadata.profile}
    kept = {name: value for name, value in kept.items() if value is not None}
    if suffix in (".jpg", ".jpeg"):
        Image.fromarray(image).save(path, quality=95, subsampling=0, **kept)
    elif suffix == ".png":
        Image.fromarray(image).save(path, **kept)
    else:
        Image.fromarray(image).save(path)


def image_size(path: Path) -> tuple[int, int]:
    """Return (h, w) from the header of a file, as ``read_image`` would give them.

    Raises:
        FusionkitError: as ``read_image``, for what the header shows.
    """
    _check_file(path)
    return decoded_size(path)


def image_dtype(path: Path) -> np.dtype[Any]:
    """Return uint8, uint16 or float32 from the header of a file, as ``read_image`` would give.

    Raises:
        FusionkitError: as ``read_image``, for what the header shows.
    """
    _check_file(path)
    return decoded_dtype(path)


def has_colour(image: Array) -> bool:
    """Return whether an image (h, w) or (h, w, 3) is more than grey stored as RGB."""
    return image.ndim == 3 and bool((image != image[..., :1]).any())


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
        return image.astype(np.float32) / np.float32(255)
    if image.dtype == np.uint16:
        return image.astype(np.float32) / np.float32(65535)
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


def from_float(image: NDArray[np.floating[Any]], dtype: DTypeLike) -> Array:
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
