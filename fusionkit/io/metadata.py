"""Metadata of image files: time, place, camera, colour profile and georeference.

Kept are the describing tags of the image, those of the exposure (EXIF) and of the place (GPS), and
those that place the pixels on a map (GeoTIFF) if the other image has as many pixels.
Dropped is what would be false of another image: tags of the storage, the thumbnail, the
orientation, since pixels are written upright, maker notes, whose offsets break when moved, and what
GDAL notes of single bands and of values without data.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import tifffile
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from fusionkit.io.formats import is_tiff, open_with_pillow, read_exif
from fusionkit.io.png import png_chunk
from fusionkit.io.silence import silence

__all__ = [
    "GeoTag",
    "Georeference",
    "Metadata",
    "add_to_png",
    "add_to_tiff",
    "read_metadata",
    "tiff_tags",
]

_EXPOSURE, _PLACE = 0x8769, 0x8825
_ORIENTATION = 0x0112
_DESCRIPTION = 0x010E
_SOFTWARE = 0x0131
_PROFILE = 34675
_INTEROPERABILITY, _MAKER_NOTE, _WIDTH, _HEIGHT = 0xA005, 0x927C, 0xA002, 0xA003
_TEXTS = {
    0x010D: "DocumentName",
    _DESCRIPTION: "ImageDescription",
    0x010F: "Make",
    0x0110: "Model",
    _SOFTWARE: "Software",
    0x0132: "DateTime",
    0x013B: "Artist",
    0x013C: "HostComputer",
    0x8298: "Copyright",
}
_RESOLUTION = (0x011A, 0x011B, 0x0128)
_GDAL = 42112
_GEO = (33550, 33922, 34264, 34735, 34736, 34737, _GDAL)
"""Pixel scale, tie points, transformation, three tags of keys, and GDAL's own items."""
_OF_ONE_BAND = re.compile(
    r"\s*<Item [^>]*\b(?:sample=|name=\"STATISTICS_)[^>]*>.*?</Item>", re.DOTALL
)
_SEGMENT = 65533 - len(b"Exif\0\0")
"""Largest EXIF block in bytes that fits into one segment of a JPEG."""


@dataclass(frozen=True)
class GeoTag:
    """A tag of a GeoTIFF as tifffile reads and writes it.

    Attributes:
        code: Number of the tag.
        type: TIFF number of the type of its values.
        count: Number of values, or bytes.
        value: The values.
    """

    code: int
    type: int
    count: int
    value: Any


@dataclass(frozen=True)
class Georeference:
    """Where the pixels of an image lie on a map.

    Attributes:
        size: (h, w) of the image in pixels; of another size the tags would be wrong.
        tags: The tags that say it.
    """

    size: tuple[int, int]
    tags: tuple[GeoTag, ...]


@dataclass(frozen=True)
class Metadata:
    """Metadata of one image; empty by default.

    Attributes:
        image: TIFF tag -> value, of the image as a whole.
        exposure: EXIF tag -> value.
        place: GPS tag -> value.
        profile: An ICC profile, or None.
        georeference: Place on a map, of a GeoTIFF; None for others.

    Example:
        >>> Metadata(image={271: "FLIR"}).exif((480, 640)).startswith(b"Exif")
        True
        >>> Metadata().exif((480, 640)) is None
        True
    """

    image: Mapping[int, Any] = field(default_factory=dict)
    exposure: Mapping[int, Any] = field(default_factory=dict)
    place: Mapping[int, Any] = field(default_factory=dict)
    profile: bytes | None = None
    georeference: Georeference | None = None

    def exif(self, size: tuple[int, int]) -> bytes | None:
        """Return an EXIF block with orientation 1 for an image of (h, w) pixels, None if empty."""
        if not (self.image or self.exposure or self.place):
            return None
        block = Image.Exif()
        block.update({**self.image, _ORIENTATION: 1})
        if self.exposure:
            block[_EXPOSURE] = _resized(self.exposure, size)
        if self.place:
            block[_PLACE] = dict(self.place)
        return block.tobytes()


def read_metadata(path: Path) -> Metadata:
    """Return the metadata of an image file, without the parts that can't be read.

    Damaged metadata is no reason not to fuse the pixels.

    Example:
        >>> import tempfile
        >>> exif = Image.Exif()
        >>> exif[0x010F] = "FLIR"
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.png"
        ...     Image.new("L", (4, 2)).save(path, exif=exif)
        ...     read_metadata(path).image
        {271: 'FLIR'}
    """
    try:
        with silence:  # about damaged tags
            found = _read(path)
            block = found.exif((1, 1))
            if block is None or len(block) <= _SEGMENT:
                return found
            return Metadata(georeference=found.georeference)
    except Exception:  # a decoder of metadata may throw anything
        return Metadata()


def _read(path: Path) -> Metadata:
    if not path.is_file():
        return Metadata()
    with path.open("rb") as file:
        head = file.read(4)
    if is_tiff(head):
        found = Metadata()
        with suppress(Exception):  # Pillow can't read the EXIF block of a big-endian BigTIFF
            found = _read_tiff(path)
        with suppress(Exception):
            found = replace(found, georeference=_read_georeference(path))
        return found
    with open_with_pillow(path) as image:
        return _kept(read_exif(image), image.info.get("icc_profile"))


def _read_tiff(path: Path) -> Metadata:
    # A TIFF has the layout of an EXIF block. Pillow can't open every TIFF that tifffile can.
    exif = Image.Exif()
    with path.open("rb") as file:
        exif.load_from_fp(file, _begin_tiff(file, exif))
        profile = exif.get(_PROFILE)
        return _kept(exif, profile if isinstance(profile, bytes) else None)


def _read_georeference(path: Path) -> Georeference | None:
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        assert isinstance(page, tifffile.TiffPage)
        if page.tags.valueof(_ORIENTATION, 1) != 1:
            return None  # the pixels will be turned
        tags = []
        for code in _GEO:
            tag = page.tags.get(code)
            if tag is None:
                continue
            value, count = tag.value, tag.count
            if isinstance(value, str):
                text = _OF_ONE_BAND.sub("", value) if code == _GDAL else value
                value = text.encode() + b"\0"
                count = len(value)
            tags.append(GeoTag(code, int(tag.dtype), count, value))
        if all(tag.code == _GDAL for tag in tags):
            return None
        return Georeference((page.imagelength, page.imagewidth), tuple(tags))


def _begin_tiff(file: IO[bytes], exif: Image.Exif) -> int:
    """Return where the first directory of a TIFF begins; tell Pillow the layout of the file."""
    header = file.read(16)
    order = "<" if header[:2] == b"II" else ">"
    exif.endian = order
    exif.bigtiff = struct.unpack_from(order + "H", header, 2)[0] == 43
    return struct.unpack_from(
        order + ("Q" if exif.bigtiff else "I"), header, 8 if exif.bigtiff else 4
    )[0]


def _kept(exif: Image.Exif, profile: bytes | None) -> Metadata:
    image = {tag: exif[tag] for tag in (*_TEXTS, *_RESOLUTION) if tag in exif}
    if str(image.get(_DESCRIPTION, "")).startswith('{"shape":'):
        del image[_DESCRIPTION]  # tifffile's note of the array's shape
    if image.get(_SOFTWARE) == "tifffile.py":
        del image[_SOFTWARE]
    exposure = dict(exif.get_ifd(_EXPOSURE))
    for tag in (_INTEROPERABILITY, _MAKER_NOTE):
        exposure.pop(tag, None)
    if not any(tag in _TEXTS for tag in image) and not exposure and not exif.get_ifd(_PLACE):
        image = {}  # resolution alone is a default of programs
    return Metadata(image, exposure, dict(exif.get_ifd(_PLACE)), profile)


def _resized(exposure: Mapping[int, Any], size: tuple[int, int]) -> dict[int, Any]:
    values = dict(exposure)
    for tag, pixels in ((_HEIGHT, size[0]), (_WIDTH, size[1])):
        if tag in values:
            values[tag] = pixels
    return values


def add_to_png(data: bytes, metadata: Metadata, size: tuple[int, int]) -> bytes:
    """Return the bytes of a PNG with chunks for EXIF and colour profile after its header.

    Example:
        >>> import io
        >>> file = io.BytesIO()
        >>> Image.new("L", (4, 2)).save(file, "PNG")
        >>> data = add_to_png(file.getvalue(), Metadata(image={271: "FLIR"}), (2, 4))
        >>> Image.open(io.BytesIO(data)).getexif()[271]
        'FLIR'
    """
    header = 8 + 25  # the signature and IHDR
    chunks = b""
    if metadata.profile is not None:
        chunks += png_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(metadata.profile))
    exif = metadata.exif(size)
    if exif is not None:
        chunks += png_chunk(b"eXIf", exif.removeprefix(b"Exif\0\0"))
    return data[:header] + chunks + data[header:]


def tiff_tags(metadata: Metadata, size: tuple[int, int]) -> list[tuple[int, int, int, Any, bool]]:
    """Return the tags of an image of (h, w) pixels in the form that tifffile takes.

    They are those of the image as a whole, its colour profile, and its place on a map.

    Example:
        >>> [tag for tag, *_ in tiff_tags(Metadata({271: "FLIR", 272: "T540"}), (2, 4))]
        [271, 272]
    """
    ascii_, undefined = 2, 7
    tags: list[tuple[int, int, int, Any, bool]] = []
    for tag in _TEXTS:
        if tag in metadata.image:
            text = str(metadata.image[tag]).encode() + b"\0"
            tags.append((tag, ascii_, len(text), text, True))
    if metadata.profile is not None:
        tags.append((_PROFILE, undefined, len(metadata.profile), metadata.profile, True))
    if metadata.georeference is not None and metadata.georeference.size == size:
        for geo in metadata.georeference.tags:
            tags.append((geo.code, geo.type, geo.count, geo.value, True))
    return tags


def add_to_tiff(path: Path, metadata: Metadata, size: tuple[int, int]) -> None:
    """Append the directories of exposure and place to a TIFF; tifffile can't write them.

    A directory that names them replaces the first one, whose entries it takes over. The pixels
    between them stay where they are, so a file of any size takes no time.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.tif"
        ...     Image.new("L", (4, 2)).save(path)
        ...     add_to_tiff(path, Metadata(place={1: "N"}), (2, 4))
        ...     read_metadata(path).place
        {1: 'N'}
    """
    groups = {_EXPOSURE: _resized(metadata.exposure, size), _PLACE: metadata.place}
    if not any(groups.values()):
        return
    with path.open("r+b") as file:
        header = file.read(16)
        order = "<" if header[:2] == b"II" else ">"
        big = struct.unpack_from(order + "H", header, 2)[0] == 43
        # BigTIFF counts entries, values and offsets in 8 bytes each.
        count, value, entry = ("Q", "Q", "HHQQ") if big else ("H", "I", "HHII")
        at = 8 if big else 4
        file.seek(struct.unpack_from(order + value, header, at)[0])
        (entries,) = struct.unpack(order + count, file.read(struct.calcsize(count)))
        width = struct.calcsize("=" + entry)
        kept = [file.read(width) for _ in range(entries)]
        following = file.read(struct.calcsize(value))
        for tag, values in groups.items():
            if values:
                start = _even_end(file)
                directory = ImageFileDirectory_v2(header[: 2 * at], group=tag)
                for key, content in values.items():
                    directory[key] = content
                kept.append(struct.pack(order + entry, tag, 4, 1, start))
                file.write(directory.tobytes(start))
        start = _even_end(file)
        kept.sort(key=lambda entry: struct.unpack_from(order + "H", entry))
        file.write(struct.pack(order + count, len(kept)) + b"".join(kept) + following)
        file.seek(at)
        file.write(struct.pack(order + value, start))


def _even_end(file: IO[bytes]) -> int:
    """Go to the end of a file, and to an even place, where directories begin."""
    end = file.seek(0, 2)
    file.write(b"\0" * (end % 2))
    return end + end % 2
