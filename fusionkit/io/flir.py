"""Thermal images inside JPEG files of FLIR cameras: 16-bit counts and temperatures.

A radiometric JPEG shows a coloured preview. The counts of the sensor and the constants of the
camera lie in its APP1 segments, which make up one FFF file: a header, a directory of records, and
the records. The layout is that of ExifTool's documentation of the FLIR tags
(https://exiftool.org/TagNames/FLIR.html).
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from fusionkit.errors import FusionkitError

__all__ = [
    "Calibration",
    "ThermalImage",
    "find_thermal_image",
    "read_temperature",
    "temperature",
]

_RAW_IMAGE, _CAMERA = 0x01, 0x20
_APP1, _START_OF_SCAN, _END = 0xE1, 0xDA, 0xD9
_SIGNATURE = b"FLIR\0"
_PNG = b"\x89PNG"
_MOST_RECORDS = 4096
_LARGEST_SIDE = 1 << 14
_KELVIN = 273.15


@dataclass(frozen=True)
class Calibration:
    """What a FLIR camera knows about its sensor and was told about the scene.

    Attributes:
        emissivity: Part of the object's radiation that is its own, in (0, 1].
        distance: Distance of the object in metres.
        reflected: Apparent temperature of what the object reflects, in kelvin.
        atmosphere: Temperature of the air, in kelvin.
        window: Temperature of a window before the camera, in kelvin.
        window_transmission: Part of the radiation that passes the window, in (0, 1].
        humidity: Relative humidity of the air, in [0, 1].
        r1: Constant R1 of the camera's Planck curve.
        b: Constant B, in kelvin.
        f: Constant F.
        o: Constant O, an offset in counts.
        r2: Constant R2.
        alpha1: Attenuation by the air, first part.
        alpha2: Attenuation by the air, second part.
        beta1: Attenuation by its water, first part.
        beta2: Attenuation by its water, second part.
        x: Weight of the first part.
    """

    emissivity: float
    distance: float
    reflected: float
    atmosphere: float
    window: float
    window_transmission: float
    humidity: float
    r1: float
    b: float
    f: float
    o: float
    r2: float
    alpha1: float
    alpha2: float
    beta1: float
    beta2: float
    x: float


_PLACES = {
    "emissivity": 0x20,
    "distance": 0x24,
    "reflected": 0x28,
    "atmosphere": 0x2C,
    "window": 0x30,
    "window_transmission": 0x34,
    "humidity": 0x3C,
    "r1": 0x58,
    "b": 0x5C,
    "f": 0x60,
    "alpha1": 0x70,
    "alpha2": 0x74,
    "beta1": 0x78,
    "beta2": 0x7C,
    "x": 0x80,
    "r2": 0x30C,
}
"""Byte of each float in the record of the camera; O, an integer, is at 0x308."""
_OFFSET_PLACE = 0x308


class _Record(NamedTuple):
    start: int
    length: int


class _Segments:
    """The FFF file that the APP1 segments of a JPEG hold together; read where it is needed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._parts: list[tuple[int, int]] = []  # place in the JPEG and length
        self._find_parts()

    def __bool__(self) -> bool:
        return bool(self._parts)

    def read(self, start: int, length: int) -> bytes:
        """Return up to ``length`` bytes of the FFF file."""
        data = b""
        with self._path.open("rb") as file:
            for place, size in self._parts:
                if start < size and len(data) < length:
                    file.seek(place + start)
                    data += file.read(min(size - start, length - len(data)))
                    start = size
                start -= size
        return data

    def _find_parts(self) -> None:
        found: dict[int, tuple[int, int]] = {}
        last = -1
        with self._path.open("rb") as file:
            if file.read(2) != b"\xff\xd8":
                return
            while len(header := file.read(4)) == 4 and header[0] == 0xFF:
                marker, length = header[1], struct.unpack(">H", header[2:])[0]
                if marker in (_START_OF_SCAN, _END) or length < 2:
                    break
                place = file.tell()
                start = file.read(8) if marker == _APP1 else b""
                if len(start) == 8 and start.startswith(_SIGNATURE):
                    # Byte 6 counts the segments, byte 7 is the number of the last one.
                    found[start[6]], last = (place + 8, length - 10), start[7]
                file.seek(place + length - 2)
        if found and sorted(found) != list(range(last + 1)):
            raise FusionkitError(
                f"{self._path} is damaged: expected {last + 1} segments of its thermal image, "
                f"found {len(found)}; get a new copy of it"
            )
        self._parts = [found[number] for number in sorted(found)]


class ThermalImage:
    """The counts of the sensor in a radiometric JPEG.

    ``find_thermal_image`` makes it.

    Attributes:
        size: (h, w) in pixels; often smaller than the preview.
    """

    def __init__(self, path: Path, segments: _Segments, records: dict[int, _Record]) -> None:
        self._path, self._segments, self._records = path, segments, records
        record = records[_RAW_IMAGE]
        order = self._byte_order(record)
        width, height = struct.unpack(order + "HH", self._read(record, 2, 4))
        if not (0 < width <= _LARGEST_SIDE and 0 < height <= _LARGEST_SIDE):
            raise self._damaged(f"its thermal image claims {height} x {width} pixels")
        self._order = order
        self.size: tuple[int, int] = (height, width)

    def read(self) -> NDArray[np.uint16]:
        """Return the counts, (h, w).

        Raises:
            FusionkitError: if the counts are damaged or stored in an unknown way.
        """
        record = self._records[_RAW_IMAGE]
        data = self._read(record, 0x20, record.length - 0x20)
        height, width = self.size
        if data.startswith(_PNG):
            if data[16:24] != struct.pack(">II", width, height):  # in the header of a PNG
                raise self._damaged(f"its PNG has another size than {height} x {width}")
            try:
                counts = np.asarray(imagecodecs.png_decode(data))
            except Exception as error:  # a decoder may raise anything
                raise self._damaged(f"its thermal image is no PNG ({error})") from None
            if counts.shape != self.size or counts.dtype != np.uint16:
                raise self._damaged(f"expected {height} x {width} counts, found {counts.shape}")
            return counts.byteswap()  # the cameras write little-endian numbers into the PNG
        if len(data) < 2 * height * width:
            raise self._damaged(
                f"expected {2 * height * width} bytes of counts or a PNG, found {len(data)} bytes"
            )
        counts = np.frombuffer(data, self._order + "u2", height * width)
        return counts.reshape(self.size).astype(np.uint16)

    def read_calibration(self) -> Calibration:
        """Return the constants of the camera and the scene.

        Raises:
            FusionkitError: if the file does not hold them, or they make no sense.
        """
        record = self._records.get(_CAMERA)
        if record is None:
            raise FusionkitError(
                f"{self._path}: expected a record of the camera's constants, found none; use the "
                f"16-bit counts instead"
            )
        order = self._byte_order(record)
        values = {
            name: struct.unpack(order + "f", self._read(record, place, 4))[0]
            for name, place in _PLACES.items()
        }
        offset = struct.unpack(order + "i", self._read(record, _OFFSET_PLACE, 4))[0]
        calibration = Calibration(**values, o=float(offset))
        self._check_calibration(calibration)
        return calibration

    def _check_calibration(self, found: Calibration) -> None:
        numbers = [getattr(found, field.name) for field in fields(found)]
        if not (
            all(math.isfinite(number) for number in numbers)
            and 0 < found.emissivity <= 1
            and 0 < found.window_transmission <= 1
            and found.distance >= 0
            and min(found.r1, found.r2, found.b) > 0
            and min(found.reflected, found.atmosphere, found.window) > 0
        ):
            raise FusionkitError(
                f"{self._path}: expected constants that give temperatures, found {found}; use the "
                f"16-bit counts instead"
            )

    def _byte_order(self, record: _Record) -> str:
        first = self._read(record, 0, 2)
        if first not in (b"\2\0", b"\0\2"):
            raise self._damaged("a record of its thermal image has no byte order")
        return "<" if first == b"\2\0" else ">"

    def _read(self, record: _Record, start: int, length: int) -> bytes:
        wanted = max(0, min(length, record.length - start))
        data = self._segments.read(record.start + start, wanted)
        if len(data) < max(1, min(length, wanted or 1)):
            raise self._damaged(
                f"expected {length} bytes in a record of its thermal image, found {len(data)}"
            )
        return data

    def _damaged(self, reason: str) -> FusionkitError:
        return FusionkitError(f"{self._path} is damaged: {reason}; get a new copy of it")


def find_thermal_image(path: Path) -> ThermalImage | None:
    """Return the thermal image in a file, None if there is none; of the counts nothing is read.

    Raises:
        FusionkitError: if the file holds parts of a thermal image that can't be read.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "phone.jpg"
        ...     Image.new("L", (4, 2), 128).save(path)
        ...     find_thermal_image(path) is None
        True
    """
    segments = _Segments(path)
    if not segments:
        return None
    header = segments.read(0, 0x20)
    if len(header) < 0x20 or not header.startswith(b"FFF\0"):
        raise FusionkitError(
            f"{path} is damaged: its FLIR segments hold no FFF header; get a new copy of it"
        )
    # The version, about 100, tells the byte order.
    order = "<" if 100 <= struct.unpack("<I", header[0x14:0x18])[0] < 200 else ">"
    start, count = struct.unpack(order + "2I", header[0x18:0x20])
    directory = segments.read(start, 32 * min(count, _MOST_RECORDS))
    records: dict[int, _Record] = {}
    for entry in range(len(directory) // 32):
        kind = struct.unpack_from(order + "H", directory, 32 * entry)[0]
        place, length = struct.unpack_from(order + "2I", directory, 32 * entry + 12)
        if kind in (_RAW_IMAGE, _CAMERA) and length > 0:
            records.setdefault(kind, _Record(place, length))
    return ThermalImage(path, segments, records) if _RAW_IMAGE in records else None


def read_temperature(path: Path) -> NDArray[np.float32]:
    """Return the temperatures that a radiometric JPEG of a FLIR camera shows.

    With the settings of the camera in the file (emissivity, distance, reflected temperature, air,
    window), the radiation S that the sensor counts is taken apart as FLIR's manuals do::

        S = w (t (e S_object + (1 - e) S_reflected) + (1 - t) S_air) + (1 - w) S_window
        T = B / ln(R1 / (R2 (S + O)) + F)

    ``e`` is the emissivity, ``w`` the transmission of the window, and ``t`` that of the air, from
    its distance, temperature and humidity (Minkina and Dudzik, Infrared Thermography, 2009,
    section 3; the parameters are in the file).

    Args:
        path: A radiometric JPEG.

    Returns:
        (h, w) in degrees Celsius, as stored by the sensor; NaN where a count is below the camera's
        curve.

    Raises:
        FusionkitError: if the file holds no thermal image or no constants, or is damaged.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "phone.jpg"
        ...     Image.new("L", (4, 2), 128).save(path)
        ...     read_temperature(path)
        Traceback (most recent call last):
        fusionkit.errors.FusionkitError: ...phone.jpg: expected a radiometric JPEG ...
    """
    if not path.is_file():
        raise FusionkitError(f"the image {path} does not exist; check the path")
    thermal = find_thermal_image(path)
    if thermal is None:
        raise FusionkitError(
            f"{path}: expected a radiometric JPEG of a FLIR camera, found no thermal image in it"
        )
    counts, constants = thermal.read(), thermal.read_calibration()
    return temperature(counts, constants)


def temperature(counts: NDArray[Any], constants: Calibration) -> NDArray[np.float32]:
    """Return temperatures in degrees Celsius for counts of any shape (see ``read_temperature``).

    Example:
        >>> constants = Calibration(
        ...     emissivity=1, distance=0, reflected=293.15, atmosphere=293.15, window=293.15,
        ...     window_transmission=1, humidity=0.5, r1=21106.77, b=1501, f=1, o=-7340,
        ...     r2=0.012545258, alpha1=0.006569, alpha2=0.01262, beta1=-0.002276,
        ...     beta2=-0.00667, x=1.9,
        ... )
        >>> temperature(np.array([18090]), constants).round(1).tolist()
        [23.5]
    """
    c = constants

    def radiation(kelvin: float) -> float:
        return c.r1 / (c.r2 * (math.exp(c.b / kelvin) - c.f)) - c.o

    air = _transmission(c)
    through = c.window_transmission
    signal = (counts.astype(np.float64) - (1 - through) * radiation(c.window)) / through
    signal = (signal - (1 - air) * radiation(c.atmosphere)) / air
    signal = (signal - (1 - c.emissivity) * radiation(c.reflected)) / c.emissivity
    with np.errstate(divide="ignore", invalid="ignore"):
        kelvin = c.b / np.log(c.r1 / (c.r2 * (signal + c.o)) + c.f)
    kelvin[~(signal + c.o > 0)] = np.nan
    return (kelvin - _KELVIN).astype(np.float32)


def _transmission(c: Calibration) -> float:
    """Return the part of the radiation that passes the air between object and camera."""
    celsius = c.atmosphere - _KELVIN
    # Grams of water in a cubic metre of air.
    water = c.humidity * math.exp(
        1.5587 + 6.939e-2 * celsius - 2.7816e-4 * celsius**2 + 6.8455e-7 * celsius**3
    )
    root = math.sqrt(c.distance)
    first = math.exp(-root * (c.alpha1 + c.beta1 * math.sqrt(water)))
    second = math.exp(-root * (c.alpha2 + c.beta2 * math.sqrt(water)))
    return c.x * first + (1 - c.x) * second
