"""Reads and writes images: PNG, JPEG, TIFF, BMP, WebP, AVIF; 8 or 16 bit or float, grey or RGB."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from PIL import Image

from fusionkit.errors import FusionkitError
from fusionkit.io.atomic_write import atomic_write
from fusionkit.io.decoding import (
    Header,
    check_finite,
    decode,
    decode_pillow,
    decode_window,
    read_header,
)
from fusionkit.io.formats import SUFFIXES, TIFF, WITH_QUALITY, has_avif
from fusionkit.io.metadata import Metadata, add_to_png
from fusionkit.io.png import encode_png
from fusionkit.io.tiff import write_tiff

__all__ = [
    "SUFFIXES",
    "ImageLike",
    "OpenedImage",
    "from_float",
    "has_colour",
    "image_size",
    "list_folder",
    "list_images",
    "open_image",
    "opened_file",
    "read_file_header",
    "read_image",
    "to_float",
    "write_image",
]

Array = NDArray[np.generic]

ImageLike = str | os.PathLike[str] | Image.Image | NDArray[Any]
"""An image as users have it: a file, a Pillow image or an array (h, w) or (h, w, 3)."""

_JPEG = (".jpg", ".jpeg")
_EIGHT_BIT_ONLY = (*_JPEG, ".bmp", ".webp", ".avif")
_LARGEST_SIDE = {".jpg": 65500, ".jpeg": 65500, ".webp": 16383, ".avif": 65536}


@dataclass(frozen=True)
class OpenedImage:
    """An image whose size and type are known, and whose pixels are read when they are needed.

    ``open_image`` makes it.

    Attributes:
        name: Name for messages: the path of a file, else what the caller calls the image.
        size: (h, w) in pixels, upright.
        dtype: Type of the pixels: uint8, uint16 or float.
        path: The file; None for an image in memory.
        pixels: The pixels of an image in memory; None for a file.
        reads_windows: Whether ``read_window`` takes less than reading the whole image.
        radiometric: Whether the file is a radiometric JPEG of a FLIR camera, whose pixels are the
            16-bit counts of the sensor, not those of the preview.
        previews: Number of smaller copies of the picture in the file, which are passed over.
    """

    name: str
    size: tuple[int, int]
    dtype: np.dtype[Any]
    path: Path | None = None
    pixels: Array | None = None
    reads_windows: bool = True
    radiometric: bool = False
    previews: int = 0

    def read(self) -> Array:
        """Return the pixels: (h, w) or (h, w, 3).

        Raises:
            FusionkitError: if the file is damaged, or has NaN or infinite pixels.
        """
        if self.path is not None:
            return decode(self.path)
        assert self.pixels is not None
        return self.pixels

    def read_window(self, rows: slice, columns: slice) -> Array:
        """Return a part of the pixels: (rows, columns) or (rows, columns, 3).

        Of a TIFF only the strips or tiles that the window touches are read, so a row of windows
        costs least if each is as wide as the image. If ``reads_windows`` is false (PNG, JPEG, WebP,
        AVIF, BMP, and a TIFF that is compressed in one piece), the whole file is decoded each time.

        Args:
            rows: Rows of the upright image; a stop beyond the last row is taken as the last.
            columns: Columns, likewise. Steps other than 1 and negative numbers are not allowed.

        Raises:
            FusionkitError: as ``read``, and for a window that holds no pixel.

        Example:
            >>> opened = open_image(np.arange(12).reshape(3, 4))
            >>> opened.read_window(slice(1, 3), slice(2, 9)).tolist()
            [[6, 7], [10, 11]]
        """
        if self.path is not None:
            return decode_window(self.path, rows, columns)
        assert self.pixels is not None
        return self.pixels[rows, columns]


def open_image(image: ImageLike, name: str = "image") -> OpenedImage:
    """Open a file, a Pillow image or an array; of a file only the header is read.

    Args:
        image: A path, a Pillow image, or an array (h, w) or (h, w, 3).
        name: What messages call an image that is not a file.

    Raises:
        FusionkitError: if the file does not exist, is damaged or has an unknown format, or the
            object is no image, or has NaN or infinite pixels.

    Example:
        >>> opened = open_image(np.zeros((20, 30, 3), np.uint8))
        >>> opened.size, opened.dtype, opened.path
        ((20, 30), dtype('uint8'), None)
    """
    if isinstance(image, (str, os.PathLike)):
        path = Path(image)
        return opened_file(path, read_file_header(path))
    if isinstance(image, Image.Image):
        image = decode_pillow(image)
    if not isinstance(image, np.ndarray):
        raise FusionkitError(
            f"{name}: expected a path, a Pillow image or a numpy array, "
            f"found {type(image).__name__}"
        )
    if not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)):
        raise FusionkitError(
            f"{name}: expected an image of shape (h, w) or (h, w, 3), found {image.shape}; "
            f"give the channels last, one image at a time"
        )
    check_finite(image, name)
    return OpenedImage(name, (image.shape[0], image.shape[1]), image.dtype, pixels=image)


def read_file_header(path: Path) -> Header:
    """Return size and pixel type of a file, without decoding its pixels.

    Raises:
        FusionkitError: if it does not exist, is damaged or has an unknown format.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.png"
        ...     write_image(path, np.zeros((2, 3), np.uint8))
        ...     opened_file(path, read_file_header(path)) == open_image(path)
        True
    """
    _check_file(path)
    return read_header(path)


def opened_file(path: Path, header: Header) -> OpenedImage:
    """Return what ``open_image`` returns for a file whose header another process has read.

    Example:
        >>> opened_file(Path("a.png"), Header((2, 3), np.dtype(np.uint8))).size
        (2, 3)
    """
    return OpenedImage(str(path), path=path, **header._asdict())


def read_image(path: Path) -> Array:
    """Read an image as it is stored.

    Transparency is dropped, a palette is expanded, and the orientation of the camera (EXIF) is
    applied. Grey stored as RGB stays RGB. A radiometric JPEG of a FLIR camera gives its 16-bit
    counts (``read_temperature`` gives their temperatures).

    Args:
        path: A file with one of ``SUFFIXES``.

    Returns:
        (h, w) or (h, w, 3); uint8, uint16, or float32 for TIFF with floating-point pixels.

    Raises:
        FusionkitError: if the file does not exist, is damaged, has an unknown format, or holds
            several pictures, channels that are no colour, or NaN or infinite values.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "black.png"
        ...     write_image(path, np.zeros((2, 3), np.uint16))
        ...     read_image(path)
        array([[0, 0, 0],
               [0, 0, 0]], dtype=uint16)
    """
    _check_file(path)
    return decode(path)


def write_image(
    path: Path, image: Array, metadata: Metadata | None = None, *, quality: int | None = None
) -> None:
    """Write an image in the format of the suffix; the file appears whole or not at all.

    Args:
        path: ``.png`` (8, 16 bit), ``.tif`` (8, 16 bit, float32), ``.jpg``, ``.webp``, ``.avif`` or
            ``.bmp`` (8 bit). AVIF needs a Pillow that has it.
        image: (h, w) or (h, w, 3); uint8, uint16 or float32.
        metadata: Metadata to write with the pixels, as upright; ``.bmp`` holds none.
        quality: 1 to 100, for JPEG, WebP and AVIF. By default JPEG gets 95, WebP is written without
            loss, and AVIF with the least loss that Pillow can do, 3 grey levels.

    Raises:
        FusionkitError: if the format can't hold the image or has no quality, or the folder can't be
            written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_image(Path(folder) / "a.tif", np.zeros((2, 3), np.float32))
        ...     sorted(path.name for path in Path(folder).iterdir())
        ['a.tif']
    """
    suffix = path.suffix.lower()
    _check_suffix(path, suffix)
    _check_quality(path, suffix, quality)
    _check_pixels(path, suffix, image)
    image = np.ascontiguousarray(image)
    metadata = metadata or Metadata()
    with atomic_write(path) as temporary:
        if suffix in TIFF:
            write_tiff(temporary, image, metadata)
        elif suffix == ".png":
            temporary.write_bytes(add_to_png(encode_png(image), metadata, image.shape[:2]))
        else:
            _write_with_pillow(temporary, image, metadata, quality)


def _check_pixels(path: Path, suffix: str, image: Array) -> None:
    if image.dtype not in (np.uint8, np.uint16, np.float32):
        raise FusionkitError(
            f"{path}: expected pixels of uint8, uint16 or float32, found {image.dtype}; "
            f"convert them with from_float"
        )
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
    longest = max(image.shape[:2])
    if longest > _LARGEST_SIDE.get(suffix, longest):
        raise FusionkitError(
            f"{path}: {suffix} holds at most {_LARGEST_SIDE[suffix]} pixels in a row or column, "
            f"the image has {longest}; write .png or .tif"
        )


def _check_quality(path: Path, suffix: str, quality: int | None) -> None:
    if quality is None:
        return
    if suffix not in WITH_QUALITY:
        raise FusionkitError(
            f"{path}: {suffix} is written without loss and has no quality; leave it out, or write "
            f"{', '.join(WITH_QUALITY)}"
        )
    if not 1 <= quality <= 100:
        raise FusionkitError(f"{path}: expected a quality of 1 to 100, found {quality}")


def _write_with_pillow(path: Path, image: Array, metadata: Metadata, quality: int | None) -> None:
    suffix = path.suffix.lower()
    options: dict[str, Any] = {}
    if suffix in _JPEG:
        options = {"quality": quality or 95, "subsampling": 0}
    elif suffix == ".webp":
        options = {"lossless": True} if quality is None else {"quality": quality}
    elif suffix == ".avif":
        options = {"quality": quality or 100, "subsampling": "4:4:4"}
    if suffix != ".bmp":
        found = {"exif": metadata.exif(image.shape[:2]), "icc_profile": metadata.profile}
        options.update({name: value for name, value in found.items() if value is not None})
    # Pillow's encoders don't notice that a full disk takes only a part of what they write.
    encoded = BytesIO()
    Image.fromarray(image).save(encoded, Image.registered_extensions()[suffix], **options)
    path.write_bytes(encoded.getbuffer())


def image_size(path: Path) -> tuple[int, int]:
    """Return the (h, w) of a file without decoding its pixels.

    Args:
        path: A file with one of ``SUFFIXES``.

    Raises:
        FusionkitError: as ``read_image``, for problems that show in the header.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.png"
        ...     write_image(path, np.zeros((2, 3), np.uint8))
        ...     image_size(path)
        (2, 3)
    """
    return open_image(path).size


def has_colour(image: Array) -> bool:
    """Return whether an image is in colour, and not grey stored as RGB.

    Args:
        image: (h, w) or (h, w, 3).

    Example:
        >>> grey = np.full((2, 2, 3), 7)
        >>> has_colour(grey), has_colour(grey * [1, 1, 2])
        (False, True)
    """
    return image.ndim == 3 and bool((image != image[..., :1]).any())


def list_images(folder: Path) -> dict[str, Path]:
    """Return stem -> path of the images in a folder, sorted by stem.

    Args:
        folder: A folder; files with other suffixes and hidden files are left out.

    Raises:
        FusionkitError: if the folder does not exist, has no images, or has two with one stem.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("b.png", "a.tif", "notes.txt"):
        ...         (Path(folder) / name).touch()
        ...     list(list_images(Path(folder)))
        ['a', 'b']
    """
    # Hidden files are leftovers of other programs.
    paths = [
        path
        for path in list_folder(folder)
        if path.suffix.lower() in SUFFIXES and path.is_file() and not path.name.startswith(".")
    ]
    if not paths:
        raise FusionkitError(
            f"expected images ({', '.join(SUFFIXES)}) in the folder {folder}, found none"
        )
    images: dict[str, Path] = {}
    for path in paths:
        if path.stem in images:
            raise FusionkitError(
                f"the folder {folder} has two images called {path.stem!r}: "
                f"{images[path.stem].name} and {path.name}; rename or remove one"
            )
        images[path.stem] = path
    return dict(sorted(images.items()))


def list_folder(folder: Path) -> list[Path]:
    """Return what a folder contains, sorted.

    Raises:
        FusionkitError: if the folder does not exist, is a file or can't be read.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     list_folder(Path(folder))
        []
    """
    try:
        if not folder.exists():
            raise FusionkitError(f"the folder {folder} does not exist; check the path")
        if not folder.is_dir():
            raise FusionkitError(f"expected a folder, found the file {folder}; check the path")
        return sorted(folder.iterdir())
    except PermissionError:
        raise FusionkitError(
            f"the folder {folder} can't be read: permission denied; allow reading it (chmod +rx)"
        ) from None


def to_float(image: Array) -> NDArray[np.float32]:
    """Return pixels as float32 in [0, 1], scaled by the range of their type.

    Args:
        image: Any shape; uint8, uint16, or float in [0, 1].

    Raises:
        FusionkitError: for another type, NaN or infinite values, or floats outside [0, 1].

    Example:
        >>> to_float(np.array([0, 51, 255], np.uint8)).tolist()
        [0.0, 0.20000000298023224, 1.0]
    """
    if image.dtype == np.uint8:
        return image.astype(np.float32) / np.float32(255)
    if image.dtype == np.uint16:
        return image.astype(np.float32) / np.float32(65535)
    if image.dtype not in (np.float16, np.float32, np.float64):
        raise FusionkitError(
            f"expected an image of uint8, uint16 or float in [0, 1], found {image.dtype}; "
            f"convert it first"
        )
    low, high = float(image.min()), float(image.max())
    if not (low >= 0 and high <= 1):  # NaN is neither
        advice = "replace NaN" if math.isnan(low) else "scale the image"
        raise FusionkitError(
            f"expected float pixels in [0, 1], found {low:g} to {high:g}; {advice} first"
        )
    return image.astype(np.float32)


def from_float(image: NDArray[np.floating[Any]], dtype: DTypeLike) -> Array:
    """Return pixels in [0, 1] in the type of an image, rounded and saturated.

    Args:
        image: Any shape, values in [0, 1].
        dtype: An unsigned integer type, whose whole range is used, or a float type.

    Example:
        >>> from_float(np.array([0, 0.5, 1.2]), np.uint8).tolist()
        [0, 128, 255]
    """
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return image.astype(dtype)
    top = np.iinfo(dtype).max
    return np.clip(np.rint(image.astype(np.float64) * top), 0, top).astype(dtype)


def _check_file(path: Path) -> None:
    try:
        if path.is_file():
            _check_suffix(path, path.suffix.lower())
            return
        if not path.exists():
            raise FusionkitError(f"the image {path} does not exist; check the path")
        if path.is_dir():
            raise FusionkitError(f"expected an image, found the folder {path}")
        raise FusionkitError(f"expected an image, found the pipe or device {path}")
    except PermissionError:
        raise FusionkitError(
            f"{path} can't be read: permission denied; allow reading it (chmod +r)"
        ) from None


def _check_suffix(path: Path, suffix: str) -> None:
    if suffix not in SUFFIXES:
        raise FusionkitError(
            f"{path}: expected one of the formats {', '.join(SUFFIXES)}, "
            f"found {suffix or 'no suffix'}"
        )
    if suffix == ".avif" and not has_avif():
        raise FusionkitError(
            f"{path}: this Pillow was built without AVIF; install a wheel of Pillow 11.3 or later, "
            f"or use another format"
        )
