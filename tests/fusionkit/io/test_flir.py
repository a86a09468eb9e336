"""Radiometric JPEGs, against counts and temperatures that other programs read from the same files.

The counts in ``radiometric/ir16`` come with the data. The temperatures are those of flyr 5.1.0, a
reader of another author, for the same constants; with a distance of 0, since flyr splits the air in
two halves, which FLIR's manuals do not.
"""

from __future__ import annotations

import io
import struct
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pytest
from PIL import Image

from fusionkit.errors import FusionkitError
from fusionkit.io.flir import Calibration, find_thermal_image, read_temperature, temperature
from fusionkit.io.images import open_image, read_image
from fusionkit.io.metadata import read_metadata

SIZES = {
    "DJI_XT-2": (512, 640),
    "Flir_B60": (180, 180),
    "Flir_E40": (120, 160),
    "T640": (480, 640),
    "T640_2": (480, 640),
}
PIXELS = ((10, 20), (60, 100), (-5, -7))
CELSIUS = {  # at PIXELS: the file's emissivity and window; then 0.8 and 1; then 0.8 and 0.9
    "Flir_B60": ((-62.6198, -7.4323, -4.9254), (np.nan, -15.8747, -12.4157), None),
    "Flir_E40": (
        (21.9053, 20.5954, 20.2116),
        (22.0054, 20.4809, 20.0337),
        (22.3894, 20.7004, 20.2044),
    ),
    "T640": ((35.3206, 34.9704, 33.7424), (37.9719, 37.5653, 36.1383), (39.8023, 39.3574, 37.7951)),
    "T640_2": (
        (24.3798, 23.3106, 33.6727),
        (25.3381, 24.0397, 36.5081),
        (25.9131, 24.4781, 38.1871),
    ),
}


def original(data_root: Path, name: str) -> Path:
    return data_root / "radiometric" / "original" / f"{name}.jpg"


@pytest.mark.parametrize("name", SIZES)
def test_the_counts_are_read_and_not_the_preview(data_root: Path, name):
    path = original(data_root, name)
    opened = open_image(path)
    assert opened.radiometric
    assert (opened.size, opened.dtype) == (SIZES[name], np.uint16)
    counts = opened.read()
    assert counts.dtype == np.uint16
    assert counts.shape == SIZES[name]
    assert np.array_equal(opened.read_window(slice(9, 40), slice(5, 70)), counts[9:40, 5:70])
    reference = data_root / "radiometric" / "ir16" / f"{name}.png"
    if reference.exists():
        assert np.array_equal(counts, cv2.imread(str(reference), cv2.IMREAD_UNCHANGED))
    # A sensor's picture is smooth: bytes in the wrong order would make noise of it.
    assert np.abs(np.diff(counts.astype(int))).mean() < 0.05 * np.ptp(counts)


@pytest.mark.parametrize("name", CELSIUS)
def test_temperatures_are_those_of_another_reader(data_root: Path, name):
    thermal = find_thermal_image(original(data_root, name))
    assert thermal is not None
    near = replace(thermal.read_calibration(), distance=0)
    settings = (
        near,
        replace(near, emissivity=0.8, window_transmission=1),
        replace(near, emissivity=0.8, window_transmission=0.9),
    )
    for constants, expected in zip(settings, CELSIUS[name], strict=True):
        if expected is not None:
            found = temperature(thermal.read(), constants)
            np.testing.assert_allclose([found[p] for p in PIXELS], expected, atol=1e-4)


@pytest.mark.parametrize("name", SIZES)
def test_temperatures_of_a_file_are_plausible(data_root: Path, name):
    celsius = read_temperature(original(data_root, name))
    assert (celsius.dtype, celsius.shape) == (np.float32, SIZES[name])
    low, high = np.percentile(celsius, (5, 95))
    assert -70 < low < high < 250


def test_metadata_of_a_radiometric_file_are_kept(data_root: Path):
    assert "FLIR" in read_metadata(original(data_root, "T640")).image[0x010F]


# Files made here

CONSTANTS = {
    0x20: 0.95, 0x24: 0.0, 0x28: 293.15, 0x2C: 293.15, 0x30: 293.15, 0x34: 1.0, 0x3C: 0.5,
    0x58: 21106.77, 0x5C: 1501.0, 0x60: 1.0, 0x70: 0.006569, 0x74: 0.01262, 0x78: -0.002276,
    0x7C: -0.00667, 0x80: 1.9, 0x30C: 0.012545258,
}  # fmt: skip
COUNTS = np.random.default_rng(0).integers(16000, 19000, (30, 40), dtype=np.uint16)


def raw_record(counts=COUNTS, order="<", size=None, data=None) -> bytes:
    height, width = size or counts.shape
    header = struct.pack(order + "3H", 2, width, height).ljust(32, b"\0")
    return header + (counts.astype(order + "u2").tobytes() if data is None else data)


def camera_record(order="<", **changes) -> bytes:
    record = bytearray(0x340)
    struct.pack_into(order + "H", record, 0, 2)
    for place, value in {**CONSTANTS, **changes.get("constants", {})}.items():
        struct.pack_into(order + "f", record, place, value)
    struct.pack_into(order + "i", record, 0x308, -7340)
    return bytes(record)


def fff(records: list[tuple[int, bytes]], order=">") -> bytes:
    directory, data, start = b"", b"", 64 + 32 * len(records)
    for kind, record in records:
        place = start + len(data)
        directory += struct.pack(order + "2H4I", kind, 0, 100, 0, place, len(record)).ljust(32)
        data += record
    header = b"FFF\0" + bytes(16) + struct.pack(order + "3I", 100, 64, len(records))
    return header.ljust(64, b"\0") + directory + data


def jpeg(path: Path, content: bytes, *, part=60000, orientation=1, drop=()) -> Path:
    """Write a JPEG whose FLIR segments hold an FFF file."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.new("RGB", (80, 60), "orange").save(buffer, "JPEG", exif=exif)
    parts = [content[i : i + part] for i in range(0, len(content), part)]
    segments = b"".join(
        b"\xff\xe1" + struct.pack(">H", len(data) + 10) + b"FLIR\0\1" + bytes([i, len(parts) - 1])
        + data
        for i, data in enumerate(parts)
        if i not in drop
    )  # fmt: skip
    path.write_bytes(buffer.getvalue()[:2] + segments + buffer.getvalue()[2:])
    return path


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("record_order", "<>")
@pytest.mark.parametrize("part", [60000, 700, 101])
def test_counts_of_any_byte_order_in_any_number_of_segments(tmp_path, order, record_order, part):
    records = [(1, raw_record(order=record_order)), (0x20, camera_record(record_order))]
    path = jpeg(tmp_path / "a.jpg", fff(records, order), part=part)
    assert np.array_equal(read_image(path), COUNTS)
    radiance = COUNTS.astype(float)
    background = 21106.77 / (0.012545258 * (np.exp(1501 / 293.15) - 1)) + 7340
    alone = (radiance - 0.05 * background) / 0.95
    expected = 1501 / np.log(21106.77 / (0.012545258 * (alone - 7340)) + 1) - 273.15
    np.testing.assert_allclose(read_temperature(path), expected, rtol=1e-5)


def test_counts_in_a_png_have_their_bytes_swapped(tmp_path: Path):
    data = bytes(imagecodecs.png_encode(COUNTS.byteswap()))
    path = jpeg(tmp_path / "a.jpg", fff([(1, raw_record(data=data))]))
    assert np.array_equal(read_image(path), COUNTS)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_counts_are_turned_upright(tmp_path: Path, orientation):
    path = jpeg(tmp_path / "a.jpg", fff([(1, raw_record())]), orientation=orientation)
    plain = tmp_path / "plain.png"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray((COUNTS >> 8).astype(np.uint8)).save(plain, exif=exif)
    assert np.array_equal(read_image(path) >> 8, read_image(plain))
    assert open_image(path).size == read_image(path).shape


def test_a_jpeg_of_a_flir_camera_without_counts_is_a_jpeg(tmp_path: Path):
    path = jpeg(tmp_path / "a.jpg", fff([(0x20, camera_record())]))
    assert read_image(path).shape == (60, 80, 3)
    assert not open_image(path).radiometric
    with pytest.raises(FusionkitError, match=r"a\.jpg"):
        read_temperature(path)
    with pytest.raises(FusionkitError, match=r"none\.jpg does not exist"):
        read_temperature(tmp_path / "none.jpg")


GOOD = fff([(1, raw_record()), (0x20, camera_record())])
HOSTILE = {
    "no header": b"GIF89a" + GOOD[6:],
    "a header alone": GOOD[:30],
    "absurd sizes": fff([(1, raw_record(size=(65535, 65535)))]),
    "no pixels": fff([(1, raw_record(size=(0, 40)))]),
    "too few counts": fff([(1, raw_record()[:-2])]),
    "more than the file": GOOD[: len(GOOD) // 3],
    "a record of one byte": fff([(1, b"\2")]),
    "a record without a byte order": fff([(1, b"\7\7" + raw_record()[2:])]),
    "a damaged PNG": fff([(1, raw_record(data=b"\x89PNG\r\n\x1a\n" + bytes(50)))]),
    "a PNG of another size": fff([(1, raw_record(data=bytes(imagecodecs.png_encode(COUNTS[1:]))))]),
    "a PNG of 8 bits": fff(
        [(1, raw_record(data=bytes(imagecodecs.png_encode(COUNTS.astype(np.uint8)))))]
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_damaged_thermal_images_are_refused_in_a_sentence(tmp_path: Path, name):
    path = jpeg(tmp_path / "a.jpg", HOSTILE[name])
    for read in (read_image, read_temperature):
        with pytest.raises(FusionkitError, match=r"a\.jpg is damaged") as caught:
            read(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("place", range(0, 128, 4))
@pytest.mark.parametrize("value", [0, 0x7FFFFFFF, 0xFFFFFFFF])
def test_any_number_in_the_directory_may_be_wrong(tmp_path: Path, place, value):
    content = bytearray(GOOD)
    struct.pack_into(">I", content, place, value)
    path = jpeg(tmp_path / "a.jpg", bytes(content))
    with suppress(FusionkitError):
        assert read_image(path).shape in ((30, 40), (60, 80, 3))
        read_temperature(path)


def test_missing_segments_are_noticed(tmp_path: Path):
    path = jpeg(tmp_path / "a.jpg", GOOD, part=700, drop=(2,))
    with pytest.raises(FusionkitError, match=r"a\.jpg is damaged: expected 5 segments"):
        open_image(path)
    whole = jpeg(tmp_path / "b.jpg", GOOD, part=700).read_bytes()
    for length in range(0, len(whole), 211):
        path.write_bytes(whole[:length])
        with pytest.raises(FusionkitError, match=r"a\.jpg"):
            read_image(path)


@pytest.mark.parametrize(
    "constants",
    [{0x20: 0.0}, {0x20: np.nan}, {0x34: 0.0}, {0x58: 0.0}, {0x30C: -1.0}, {0x28: 0.0}],
)
def test_constants_that_give_no_temperature_are_refused(tmp_path: Path, constants):
    records = [(1, raw_record()), (0x20, camera_record(constants=constants))]
    path = jpeg(tmp_path / "a.jpg", fff(records))
    assert np.array_equal(read_image(path), COUNTS)
    with pytest.raises(FusionkitError, match=r"a\.jpg"):
        read_temperature(path)


@pytest.mark.parametrize("camera", [b"", camera_record()[:0x200]])
def test_constants_that_are_missing_are_named(tmp_path: Path, camera):
    path = jpeg(tmp_path / "a.jpg", fff([(1, raw_record()), (0x20, camera)]))
    assert np.array_equal(read_image(path), COUNTS)
    with pytest.raises(FusionkitError, match=r"a\.jpg"):
        read_temperature(path)


def test_a_count_below_the_curve_has_no_temperature():
    constants = Calibration(
        emissivity=1, distance=1, reflected=293, atmosphere=293, window=293,
        window_transmission=1, humidity=0.5, r1=21106.77, b=1501, f=1, o=-7340, r2=0.0125,
        alpha1=0.006569, alpha2=0.01262, beta1=-0.002276, beta2=-0.00667, x=1.9,
    )  # fmt: skip
    celsius = temperature(np.array([0, 7000, 18000], np.uint16), constants)
    assert np.isnan(celsius).tolist() == [True, True, False]
