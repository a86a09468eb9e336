"""The file formats of images, and how Pillow opens the ones that it reads for us."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from PIL import Image, features
from PIL.PngImagePlugin import PngImageFile

from fusionkit.io.pixel_limit import check_pixels

__all__ = [
    "SUFFIXES",
    "TIFF",
    "WITH_QUALITY",
    "has_avif",
    "is_tiff",
    "open_with_pillow",
    "read_exif",
]

TIFF = (".tif", ".tiff")
"""Suffixes of TIFF files."""

SUFFIXES = (".png", ".jpg", ".jpeg", *TIFF, ".bmp", ".webp", ".avif")
"""The file formats that can be read and written."""

WITH_QUALITY = (".jpg", ".jpeg", ".avif", ".webp")
"""The formats that may be written with a quality."""

_FORMATS = ("PNG", "JPEG", "BMP", "DIB", "WEBP", "AVIF")
"""All that Pillow may open. Its other formats start programs (EPS: Ghostscript) or are rare and
little tested, and a file need not be what its suffix says."""

_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


def has_avif() -> bool:
    """Return whether Pillow was built with a library for AVIF.

    Example:
        >>> has_avif() in (True, False)
        True
    """
    return bool(features.check("avif"))


def is_tiff(head: bytes) -> bool:
    """Return whether a file is a TIFF, whatever its suffix says.

    Args:
        head: Its first four bytes, or more.

    Example:
        >>> is_tiff(bytes([73, 73, 42, 0, 8])), is_tiff(b"GIF8")
        (True, False)
    """
    return head[:4] in _TIFF_MAGIC


@contextmanager
def open_with_pillow(path: Path, file: IO[bytes] | None = None) -> Iterator[Image.Image]:
    """Open a file that holds one of our formats, whatever its suffix says.

    Args:
        path: The file.
        file: The same, if it is open for reading already; it stays open.

    Raises:
        FusionkitError: if it has more pixels than the limit.
        Exception: any of Pillow's, for a file that is damaged or has another format.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "a.png")
        ...     Image.new("L", (4, 2)).save(path)
        ...     with open_with_pillow(path) as image:
        ...         image.size
        (4, 2)
    """
    with Image.open(path if file is None else file, formats=_FORMATS) as image:
        check_pixels(path, image.height, image.width)
        yield image


def read_exif(image: Image.Image) -> Image.Exif:
    """Return the EXIF block of an open file without decoding its pixels.

    Args:
        image: What ``open_with_pillow`` gives for the file.

    Example:
        >>> import tempfile
        >>> exif = Image.Exif()
        >>> exif[0x010F] = "FLIR"
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "a.png")
        ...     Image.new("L", (4, 2)).save(path, exif=exif)
        ...     with open_with_pillow(path) as image:
        ...         read_exif(image)[0x010F]
        'FLIR'
    """
    # The base class's method: PngImageFile's own decodes all pixels to look for EXIF after them.
    exif = Image.Image.getexif(image)
    if isinstance(image, PngImageFile) and not exif:
        assert image.fp is not None  # open files have one
        data = _late_exif(image.fp)
        if data is not None:
            exif = Image.Exif()
            exif.load(b"Exif\0\0" + data)
    return exif


def _late_exif(file: IO[bytes]) -> bytes | None:
    """Return the data of an eXIf chunk anywhere in a PNG, without reading the other chunks."""
    before, end = file.tell(), file.seek(0, 2)
    try:
        place = len(_PNG_MAGIC)
        while place + 8 <= end:
            file.seek(place)
            length, kind = struct.unpack(">I4s", file.read(8))
            if kind == b"eXIf":
                return file.read(length)
            place += length + 12
        return None
    finally:
        file.seek(before)
