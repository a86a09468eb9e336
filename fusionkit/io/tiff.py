"""Reads the picture of a TIFF file, whole or by windows, and writes one row after row."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tifffile
from numpy.typing import DTypeLike, NDArray
from tifffile import COMPRESSION, PHOTOMETRIC

from fusionkit.errors import FusionkitError
from fusionkit.io.atomic_write import atomic_write
from fusionkit.io.formats import TIFF
from fusionkit.io.metadata import Metadata, add_to_tiff, tiff_tags
from fusionkit.io.pixel_limit import check_pixels

__all__ = ["TiffPicture", "open_tiff", "write_rows", "write_tiff"]

Array = NDArray[Any]

_ORIENTATION = 0x0112
_SUBSAMPLING = 530
_COEFFICIENTS = 529
_REFERENCE = 532

_GREY = (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE)
_COLOUR = (PHOTOMETRIC.RGB, PHOTOMETRIC.YCBCR)
_ALPHA = (1, 2)
"""Values of the tag ExtraSamples for transparency; 0 is a band without a meaning."""
_JPEG = (COMPRESSION.OJPEG, COMPRESSION.JPEG)

_STRIP = 1 << 18
"""Bytes in a strip that we write, about as much as TIFF readers expect."""
_CLASSIC = (1 << 32) - (1 << 25)
"""Bytes of pixels from which on a file is a BigTIFF; tifffile leaves the same room for tags."""


class TiffPicture:
    """The picture in an open TIFF file.

    ``open_tiff`` makes it.

    Attributes:
        size: (h, w) in pixels, as stored.
        dtype: Type of the values that ``read`` returns.
        orientation: EXIF number of the orientation; 1 is upright.
        reads_windows: Whether reading a window takes less than reading the whole.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.tif"
        ...     write_tiff(path, np.zeros((2, 3), np.uint16), Metadata())
        ...     with open_tiff(path) as picture:
        ...         picture.read(rows=slice(1, 2))
        array([[0, 0, 0]], dtype=uint16)
    """

    def __init__(self, page: tifffile.TiffPage, path: Path) -> None:
        self._page, self._path = page, path
        _check_page(page, path)
        if page.compression == COMPRESSION.NONE:
            page.predictor = 1  # libtiff, Pillow and OpenCV predict in compressed pixels only
        self.size = page.imagelength, page.imagewidth
        self.dtype = np.dtype(np.uint8 if page.photometric == PHOTOMETRIC.PALETTE else page.dtype)
        tag = page.tags.get(_ORIENTATION)
        self.orientation = 1 if tag is None else int(tag.value)
        self.reads_windows = page.is_final or math.prod(page.chunked) > 1

    def read(self, rows: slice | None = None, columns: slice | None = None) -> Array:
        """Return the pixels of the picture or of a window of it.

        Only the strips or tiles that the window touches are read and decoded.

        Args:
            rows: Rows as stored, with a start and a stop inside the picture; None reads all.
            columns: Columns, likewise.

        Returns:
            (h, w) or (h, w, c) with up to four channels, of any type.

        Raises:
            FusionkitError: if the file does not hold the pixels that it claims, or more of them
                than the limit would be decoded at once.
        """
        _check_data(self._page, self._path)
        height, width = self.size
        parts = [rows or slice(0, height), columns or slice(0, width)]
        check_pixels(self._path, *(part.stop - part.start for part in parts))
        if not self._page.is_final:  # a strip or tile is decoded whole
            check_pixels(self._path, *_segment_size(self._page))
        if rows is None and columns is None:
            pixels = np.asarray(self._page.asarray())
            if self._page.axes == "SYX":  # colour planes one after the other
                pixels = np.moveaxis(pixels, 0, -1)
        else:
            pixels = self._read_window(*parts)
        return _as_grey_or_rgb(self._page, pixels)

    def _read_window(self, rows: slice, columns: slice) -> Array:
        page = self._page
        planes, _, _, _, samples = page.shaped
        shape = (planes, rows.stop - rows.start, columns.stop - columns.start, samples)
        window = np.zeros(shape, page.dtype)
        window[...] = _no_data(page)
        if page.is_final:
            for plane in range(planes):
                window[plane] = self._read_rows(plane, rows)[:, columns]
        else:
            for index in _touched_segments(page, rows, columns):
                self._paste_segment(index, window, rows.start, columns.start)
        window = window[0] if planes == 1 else np.moveaxis(window[..., 0], 0, -1)
        return window[..., 0] if window.shape[2] == 1 else window

    def _read_rows(self, plane: int, rows: slice) -> Array:
        """Return some rows of pixels that are stored without compression, one after the other."""
        page = self._page
        assert page.dtype is not None
        _, _, height, width, samples = page.shaped
        count = (rows.stop - rows.start) * width * samples
        first = (plane * height + rows.start) * width * samples
        file = page.parent.filehandle
        with file.lock:
            file.seek(page.dataoffsets[0] + first * page.dtype.itemsize)
            data = file.read(count * page.dtype.itemsize)
        stored = np.frombuffer(data, page.dtype.newbyteorder(page.parent.byteorder))
        return stored.reshape(rows.stop - rows.start, width, samples)

    def _paste_segment(self, index: int, window: Array, top: int, left: int) -> None:
        """Decode a strip or tile and copy the part that a window holds."""
        page = self._page
        if page.databytecounts[index] == 0:
            return  # not stored: it holds no data
        file = page.parent.filehandle
        with file.lock:
            file.seek(page.dataoffsets[index])
            data = file.read(page.databytecounts[index])
        segment, place, _ = page.decode(data, index, jpegtables=page.jpegtables)
        if segment is None:
            return
        segment = segment[0]
        plane, _, y, x, _ = place
        y0, x0 = max(y, top), max(x, left)
        y1 = min(y + segment.shape[0], top + window.shape[1])
        x1 = min(x + segment.shape[1], left + window.shape[2])
        part = segment[y0 - y : y1 - y, x0 - x : x1 - x]
        window[plane, y0 - top : y1 - top, x0 - left : x1 - left] = part


@contextmanager
def open_tiff(path: Path) -> Iterator[TiffPicture]:
    """Open the picture of a TIFF or BigTIFF file.

    Thumbnails, levels of a pyramid and masks, which the file marks as such, are passed over.

    Raises:
        FusionkitError: for several pictures, or one that is neither grey nor RGB.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.tif"
        ...     write_tiff(path, np.zeros((2, 3), np.uint16), Metadata())
        ...     with open_tiff(path) as picture:
        ...         picture.size, picture.dtype
        ((2, 3), dtype('uint16'))
    """
    with tifffile.TiffFile(path) as file:
        yield TiffPicture(_only_page(file, path), path)


def _only_page(file: tifffile.TiffFile, path: Path) -> tifffile.TiffPage:
    pages = _all_pages(file.pages, path)
    pictures = [page for page in pages if not _is_aside(page)]
    if not pictures and pages[0].pages is not None:  # some cameras store a thumbnail first
        inner = _all_pages(pages[0].pages, path)
        pictures = [page for page in inner if not _is_aside(page)]
    first = (pictures or pages)[0]
    count = max(len(pictures), _pictures_in_one_page(file))
    if count > 1:
        height, width = first.imagelength, first.imagewidth
        if width <= 16 and count >= 16:
            raise FusionkitError(
                f"{path}: expected one image, found {count} of {height} x {width} pixels; if it "
                f"is one image with {width} channels, write these as channels, and not as columns"
            )
        raise FusionkitError(
            f"{path}: expected one image, found {count} in the file; split it first, for example "
            f"by `magick {path.name} {path.stem}-%d.tif`"
        )
    return first


def _all_pages(pages: tifffile.TiffPages, path: Path) -> list[tifffile.TiffPage]:
    """Return all pages. Each names the next one, so a damaged file can go round in circles."""
    found: list[tifffile.TiffPage] = []
    places: set[int] = set()
    for page in pages:
        if page.offset in places:
            raise FusionkitError(
                f"{path} is damaged: its list of pictures has no end; get a new copy of it"
            )
        places.add(page.offset)
        if isinstance(page, tifffile.TiffPage):
            found.append(page)
    return found


def _is_aside(page: tifffile.TiffPage) -> bool:
    """Return whether a page is a reduced copy of another one or its mask."""
    return bool(int(page.subfiletype) & 0b101)


def _pictures_in_one_page(file: tifffile.TiffFile) -> int:
    """Return how many pictures follow each other in the data of the first page."""
    page = file.pages.first
    assert isinstance(page, tifffile.TiffPage)
    if not (page.is_imagej or page.is_shaped) or len(file.pages) > 1:
        return 1
    return max(1, math.prod(file.series[0].shape) // max(1, math.prod(page.shape)))


def _check_page(page: tifffile.TiffPage, path: Path) -> None:
    kind = page.photometric
    if not page.imagelength or not page.imagewidth:
        raise FusionkitError(f"{path} is damaged: it has no pixels; get a new copy of it")
    if kind not in (*_GREY, *_COLOUR, PHOTOMETRIC.PALETTE):
        name = PHOTOMETRIC(kind).name if kind in list(PHOTOMETRIC) else f"kind {kind}"
        raise FusionkitError(
            f"{path}: expected grey, RGB or palette colour, found {name}; convert it first"
        )
    if page.imagedepth > 1:
        raise FusionkitError(
            f"{path}: expected one image, found a volume of {page.imagedepth} slices; save "
            f"each as a file"
        )
    if page.bitspersample not in (1, 8, 16, 32, 64) or page.dtype is None:
        raise FusionkitError(
            f"{path}: expected 8 or 16 bits per channel or float, found {page.bitspersample} bits; "
            f"convert it first"
        )
    bands, extra = page.samplesperpixel, tuple(page.extrasamples)
    # Some programs write RGBA without saying what the fourth channel is.
    has_alpha = any(value in _ALPHA for value in extra) or (kind in _COLOUR and not extra)
    if bands - has_alpha not in (1, 3) and bands not in (1, 3):
        raise FusionkitError(
            f"{path}: expected 1 or 3 channels, and transparency at most, found {bands} bands; "
            f"choose the bands to fuse, for example by `gdal_translate -b 1 {path.name} "
            f"{path.stem}-1.tif`"
        )
    palette = kind == PHOTOMETRIC.PALETTE
    if (kind in _COLOUR and bands < 3) or (palette and (bands > 1 or page.colormap is None)):
        parts = "one channel and a palette" if palette else "three channels"
        raise FusionkitError(
            f"{path} is damaged: {PHOTOMETRIC(kind).name} takes {parts}, which it does not have; "
            f"get a new copy of it"
        )
    tag = page.tags.get(_SUBSAMPLING)
    subsampled = kind == PHOTOMETRIC.YCBCR and tag is not None and tuple(tag.value) != (1, 1)
    if subsampled and page.compression not in _JPEG:
        raise FusionkitError(
            f"{path}: expected colour of full resolution or JPEG compression, found YCbCr with "
            f"subsampled chroma; convert it to RGB first"
        )


def _check_data(page: tifffile.TiffPage, path: Path) -> None:
    """Refuse a size that the data can't have, before memory is taken for it."""
    expected = math.prod(page.chunked)
    found = len(page.dataoffsets)
    end = page.parent.filehandle.size
    if page.is_final:
        expected = page.nbytes
        start = page.dataoffsets[0]
        found = min(expected, end - start) if start > 0 else 0  # the file begins with no pixels
    if found < expected:
        unit = "bytes" if page.is_final else "strips or tiles"
        raise FusionkitError(
            f"{path} is damaged or no image: {page.imagelength} x {page.imagewidth} pixels take "
            f"{expected} {unit}, the file has {found}; get a new copy of it"
        )
    if page.is_final:
        return
    # Some decoders fill up what is missing, and tifffile takes odd numbers for a missing strip.
    for start, count in zip(page.dataoffsets, page.databytecounts, strict=False):
        left_out = start == count == 0 and not page.is_contiguous
        if not left_out and not (isinstance(count, int) and 0 < start < start + count <= end):
            raise FusionkitError(
                f"{path} is damaged or incomplete: it has {end} bytes, but says that pixels stand "
                f"at {start} to {start + count}; get a new copy of it"
            )


def _no_data(page: tifffile.TiffPage) -> float:
    value = getattr(page, "nodata", 0)
    return value if isinstance(value, (int, float)) else 0


def _segment_size(page: tifffile.TiffPage) -> tuple[int, int]:
    """Return the height and width of a strip or tile."""
    if page.is_tiled:
        return page.tilelength, page.tilewidth
    return min(page.rowsperstrip, page.imagelength), page.imagewidth


def _touched_segments(page: tifffile.TiffPage, rows: slice, columns: slice) -> Iterator[int]:
    """Yield the numbers of the strips or tiles that a window touches."""
    planes, _, height, width, _ = page.shaped
    tall, wide = _segment_size(page)
    down, across = math.ceil(height / tall), math.ceil(width / wide)
    touched = itertools.product(
        range(planes),
        range(rows.start // tall, math.ceil(rows.stop / tall)),
        range(columns.start // wide, math.ceil(columns.stop / wide)),
    )
    for plane, y, x in touched:
        yield (plane * down + y) * across + x


def _as_grey_or_rgb(page: tifffile.TiffPage, pixels: Array) -> Array:
    kind = page.photometric
    if kind == PHOTOMETRIC.PALETTE:
        assert page.colormap is not None
        return (page.colormap[:, pixels] >> 8).astype(np.uint8).transpose(1, 2, 0)
    if kind == PHOTOMETRIC.MINISWHITE:
        return ~pixels if pixels.dtype.kind in "bu" else 1 - pixels
    if kind == PHOTOMETRIC.YCBCR and page.compression not in _JPEG:
        return _rgb_from_ycbcr(page, pixels)
    return pixels


def _rgb_from_ycbcr(page: tifffile.TiffPage, pixels: Array) -> Array:
    """Return the RGB of full-resolution YCbCr by the equations of TIFF 6.0, section 21."""
    dtype = pixels.dtype
    top = float(np.iinfo(dtype).max)
    middle = (top + 1) / 2
    red, green, blue = _fractions(page, _COEFFICIENTS, (0.299, 0.587, 0.114))
    black_white = _fractions(page, _REFERENCE, (0, top, middle, top, middle, top))
    full = (top, top - middle, top - middle)  # luminance to [0, top], chroma to [-127, 127]
    y, cb, cr = (
        (pixels[..., i].astype(np.float64) - black_white[2 * i])
        * (full[i] / (black_white[2 * i + 1] - black_white[2 * i]))
        for i in range(3)
    )
    r = y + cr * (2 - 2 * red)
    b = y + cb * (2 - 2 * blue)
    g = (y - blue * b - red * r) / green
    return np.clip(np.rint(np.stack([r, g, b], axis=-1)), 0, top).astype(dtype)


def _fractions(page: tifffile.TiffPage, code: int, default: tuple[float, ...]) -> list[float]:
    tag = page.tags.get(code)
    if tag is None or len(tag.value) < len(default):
        return list(default)
    values = list(tag.value)
    if len(values) == 2 * len(default):  # numerators and denominators
        return [a / b for a, b in zip(values[::2], values[1::2], strict=True)]
    return [float(value) for value in values]


class _Layout(NamedTuple):
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def write_tiff(path: Path, image: Array, metadata: Metadata) -> None:
    """Write an array as a TIFF, or as a BigTIFF if it has 4 GB or more.

    Args:
        path: The file.
        image: (h, w) or (h, w, 3); uint8, uint16 or float32.
        metadata: Metadata to write with the pixels, as upright.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.tif"
        ...     write_tiff(path, np.zeros((2, 3), np.uint16), Metadata())
        ...     tifffile.imread(path).shape
        (2, 3)
    """
    _write_empty(path, _Layout(image.shape, image.dtype), metadata, image)
    add_to_tiff(path, metadata, (image.shape[0], image.shape[1]))


def write_rows(
    path: Path,
    bands: Iterable[Array],
    *,
    shape: tuple[int, ...],
    dtype: DTypeLike,
    metadata: Metadata | None = None,
) -> None:
    """Write a TIFF from bands of rows, in the memory of one band; it appears whole or not at all.

    A file of 4 GB or more becomes a BigTIFF.

    Args:
        path: A ``.tif`` or ``.tiff`` file.
        bands: Arrays (rows, w) or (rows, w, 3) from top to bottom, with any number of rows each.
        shape: (h, w) or (h, w, 3) of the whole image.
        dtype: uint8, uint16 or float32.
        metadata: Metadata to write with the pixels, as upright.

    Raises:
        FusionkitError: for another suffix, shape or type, bands that do not add up to the shape, or
            a file that can't be written. An error that ``bands`` raises passes through.

    Example:
        >>> import tempfile
        >>> from fusionkit.io.images import read_image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.tif"
        ...     bands = (np.full((2, 5), row, np.uint16) for row in range(3))
        ...     write_rows(path, bands, shape=(6, 5), dtype=np.uint16)
        ...     read_image(path)[:, 0].tolist()
        [0, 0, 1, 1, 2, 2]
    """
    layout = _Layout(tuple(shape), np.dtype(dtype))
    if path.suffix.lower() not in TIFF:
        raise FusionkitError(f"{path}: expected .tif or .tiff, found {path.suffix or 'no suffix'}")
    if layout.dtype not in (np.uint8, np.uint16, np.float32):
        raise FusionkitError(f"{path}: expected uint8, uint16 or float32, found {layout.dtype}")
    if not (len(shape) == 2 or (len(shape) == 3 and shape[2] == 3)) or not all(shape):
        raise FusionkitError(f"{path}: expected the shape (h, w) or (h, w, 3), found {shape}")
    with atomic_write(path) as temporary:
        offset = _write_empty(temporary, layout, metadata or Metadata())
        with temporary.open("r+b") as file:
            file.seek(offset)
            row = 0
            for band in bands:
                row += len(band)
                if band.shape[1:] != layout.shape[1:] or row > layout.shape[0]:
                    raise FusionkitError(
                        f"{path}: expected bands of the image {layout.shape}, found one of "
                        f"{band.shape} that ends at row {row}"
                    )
                file.write(np.ascontiguousarray(band, layout.dtype).data)
        if row < layout.shape[0]:
            raise FusionkitError(f"{path}: expected {layout.shape[0]} rows, found {row}")
        add_to_tiff(temporary, metadata or Metadata(), (layout.shape[0], layout.shape[1]))


def _write_empty(
    path: Path, layout: _Layout, metadata: Metadata, image: Array | None = None
) -> int:
    """Write the tags of a TIFF and its pixels, if given; return where the pixels begin."""
    size = math.prod(layout.shape) * layout.dtype.itemsize
    row = math.prod(layout.shape[1:]) * layout.dtype.itemsize
    plain = metadata == Metadata()
    with tifffile.TiffWriter(path, bigtiff=size >= _CLASSIC) as file:
        place = file.write(
            image,
            shape=layout.shape,
            dtype=layout.dtype,
            photometric="rgb" if len(layout.shape) == 3 else "minisblack",
            rowsperstrip=max(1, min(layout.shape[0], _STRIP // row)),
            # The description is the camera's, so tifffile must not write the array's shape into it.
            metadata={} if plain else None,
            software=None if plain else False,
            extratags=tiff_tags(metadata, (layout.shape[0], layout.shape[1])),
            returnoffset=True,
        )
    assert place is not None
    return place[0]
