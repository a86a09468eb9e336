"""Windows of TIFF files and files written row after row, against tifffile, Pillow and OpenCV."""

from __future__ import annotations

import resource
import subprocess
import sys
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from fusionkit.errors import FusionkitError
from fusionkit.io.images import open_image, read_image, write_image
from fusionkit.io.metadata import Metadata, read_metadata
from fusionkit.io.tiff import write_rows

WINDOWS = [
    (slice(0, 70), slice(0, 90)),
    (slice(13, 14), slice(0, 90)),
    (slice(31, 49), slice(63, 66)),
    (slice(69, 200), slice(89, None)),
]
LAYOUTS = {
    "one strip": {},
    "strips": {"rowsperstrip": 16},
    "deflated strips": {"rowsperstrip": 7, "compression": "zlib", "predictor": 2},
    "tiles": {"tile": (32, 48)},
    "lzw tiles": {"tile": (16, 16), "compression": "lzw"},
    "big endian": {"byteorder": ">", "rowsperstrip": 16},
    "BigTIFF": {"bigtiff": True, "tile": (32, 32), "compression": "zstd"},
}


def noise(*shape: int, dtype: type = np.uint16) -> np.ndarray:
    values = np.random.default_rng(0).random(shape)
    if np.dtype(dtype).kind == "f":
        return values.astype(dtype)
    return (values * np.iinfo(dtype).max).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_windows_are_parts_of_the_image(tmp_path: Path, layout, dtype):
    path = tmp_path / "a.tif"
    arguments = dict(LAYOUTS[layout])
    if dtype == np.float32:
        arguments.pop("predictor", None)
    for image in (noise(70, 90, dtype=dtype), noise(70, 90, 3, dtype=dtype)):
        kind = "rgb" if image.ndim == 3 else "minisblack"
        tifffile.imwrite(path, image, photometric=kind, **arguments)
        opened = open_image(path)
        assert opened.reads_windows
        for rows, columns in WINDOWS:
            part = opened.read_window(rows, columns)
            assert part.dtype == dtype
            assert part.flags.c_contiguous
            assert np.array_equal(part, image[rows, columns])


@pytest.mark.parametrize("arguments", [{}, {"rowsperstrip": 16}, {"tile": (32, 32)}])
@pytest.mark.parametrize("compression", [None, "deflate"])
def test_windows_of_colour_planes_palettes_and_inverted_grey(tmp_path, arguments, compression):
    path, image = tmp_path / "a.tif", noise(70, 90, 3, dtype=np.uint8)
    tifffile.imwrite(
        path,
        image.transpose(2, 0, 1),
        photometric="rgb",
        planarconfig="separate",
        compression=compression,
        **arguments,
    )
    for rows, columns in WINDOWS:
        assert np.array_equal(open_image(path).read_window(rows, columns), image[rows, columns])
    tifffile.imwrite(
        path, image[..., 0], photometric="miniswhite", compression=compression, **arguments
    )
    for rows, columns in WINDOWS:
        part = open_image(path).read_window(rows, columns)
        assert np.array_equal(part, 255 - image[rows, columns, 0])
    few = Image.fromarray(image).quantize(16)
    few.save(path, compression="tiff_lzw" if compression else None)
    for rows, columns in WINDOWS:
        part = open_image(path).read_window(rows, columns)
        assert np.array_equal(part, np.asarray(few.convert("RGB"))[rows, columns])


def test_windows_of_a_bilevel_and_a_jpeg_tiff(tmp_path: Path):
    path = tmp_path / "a.tif"
    Image.fromarray(noise(70, 90, dtype=np.uint8) > 99).save(path)
    expected = np.asarray(Image.open(path).convert("L"))
    for rows, columns in WINDOWS:
        assert np.array_equal(open_image(path).read_window(rows, columns), expected[rows, columns])
    smooth = cv2.GaussianBlur(noise(70, 90, 3, dtype=np.uint8), (0, 0), 3)
    tifffile.imwrite(path, smooth, photometric="rgb", compression="jpeg", tile=(32, 32))
    whole = read_image(path)
    assert np.abs(whole.astype(int) - smooth).mean() < 5
    for rows, columns in WINDOWS:
        assert np.array_equal(open_image(path).read_window(rows, columns), whole[rows, columns])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_windows_are_those_of_the_upright_image(tmp_path: Path, suffix, orientation):
    path = tmp_path / f"a{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(noise(70, 90, 3, dtype=np.uint8)).save(path, exif=exif)
    upright, opened = read_image(path), open_image(path)
    assert opened.reads_windows == (suffix == ".tif")
    for rows, columns in [*WINDOWS[:3], (slice(0, 5), slice(2, 70)), (slice(60, 70), slice(0, 9))]:
        assert np.array_equal(opened.read_window(rows, columns), upright[rows, columns])


@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_a_window_outside_the_image_is_refused(tmp_path: Path, suffix):
    path = tmp_path / f"a{suffix}"
    write_image(path, noise(20, 30))
    opened = open_image(path)
    for rows in (slice(20, 30), slice(5, 5), slice(-3, 2), slice(0, 9, 2)):
        with pytest.raises(FusionkitError, match=f"a{suffix}"):
            opened.read_window(rows, slice(0, 30))


def test_nan_in_a_window_is_placed_in_the_image(tmp_path: Path):
    image = noise(70, 90, dtype=np.float32)
    image[40, 50] = np.nan
    write_image(tmp_path / "a.tif", image)
    opened = open_image(tmp_path / "a.tif")
    assert np.array_equal(opened.read_window(slice(0, 40), slice(0, 90)), image[:40])
    with pytest.raises(FusionkitError, match="row 40, column 50"):
        opened.read_window(slice(35, 45), slice(45, 90))


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_a_truncated_file_is_named(tmp_path: Path, compression):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise(70, 90), rowsperstrip=8, compression=compression)
    path.write_bytes(path.read_bytes()[:6000])
    opened = open_image(path)
    with pytest.raises(FusionkitError, match=r"a\.tif is damaged"):
        opened.read_window(slice(60, 70), slice(0, 90))


def overwrite(path: Path, **values: object) -> None:
    """Damage tags of the first page."""
    with tifffile.TiffFile(path, mode="r+b") as file:
        for name, value in values.items():
            file.pages[0].tags[name].overwrite(value)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"PhotometricInterpretation": 2}, "three channels"),
        ({"PhotometricInterpretation": 6}, "three channels"),
        ({"PhotometricInterpretation": 3}, "one channel and a palette"),
        ({"ImageWidth": 0}, "damaged or no image"),
        ({"ImageLength": 0}, "damaged or no image"),
        ({"StripByteCounts": (60_000,) * 9}, "damaged or incomplete"),
        ({"StripByteCounts": (0,) * 9}, "damaged or incomplete"),
        ({"StripOffsets": (10**6,) * 9}, "damaged or incomplete"),
    ],
)
def test_a_page_that_contradicts_itself_is_refused(tmp_path: Path, tags, said):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise(70, 90), rowsperstrip=8, compression="deflate")
    assert read_image(path).shape == (70, 90)
    overwrite(path, **tags)
    with pytest.raises(FusionkitError, match=said):
        read_image(path)


@pytest.mark.parametrize("arguments", [{}, {"rowsperstrip": 8}])
def test_a_predictor_without_compression_means_nothing(tmp_path: Path, arguments):
    path = tmp_path / "a.tif"
    # tifffile writes no such file, so another tag of the same type becomes the predictor.
    tags = [(65000, 3, 1, 2, True)]
    tifffile.imwrite(path, noise(70, 90, dtype=np.uint8), extratags=tags, **arguments)
    path.write_bytes(path.read_bytes().replace((65000).to_bytes(2, "little"), b"\x3d\x01", 1))
    with tifffile.TiffFile(path) as file:
        assert file.pages[0].predictor == 2  # type: ignore[union-attr]
    expected = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(read_image(path), expected)
    window = open_image(path).read_window(slice(10, 30), slice(20, 40))
    assert np.array_equal(window, expected[10:30, 20:40])


def test_a_header_is_no_pixels(tmp_path: Path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise(70, 90, dtype=np.uint8))
    overwrite(path, StripOffsets=0, StripByteCounts=0)
    with pytest.raises(FusionkitError, match="damaged"):
        read_image(path)


def test_pages_in_a_circle_end(tmp_path: Path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise(2, 20, 30), photometric="minisblack")
    with tifffile.TiffFile(path) as file:
        first, second = (page.offset for page in file.pages)
    data = bytearray(path.read_bytes())
    entries = int.from_bytes(data[second : second + 2], "little")
    at = second + 2 + 12 * entries
    data[at : at + 4] = first.to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(FusionkitError, match=r"a\.tif"):
        read_image(path)


def test_missing_tiles_hold_the_value_for_no_data(tmp_path: Path):
    path = tmp_path / "a.tif"
    tiles = [noise(32, 32), None, noise(32, 32), None]
    tifffile.imwrite(path, iter(tiles), shape=(64, 64), dtype=np.uint16, tile=(32, 32))
    with tifffile.TiffFile(path) as file:
        expected = file.asarray()
    part = open_image(path).read_window(slice(10, 50), slice(10, 60))
    assert np.array_equal(part, expected[10:50, 10:60])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 3])
def test_bands_of_any_height_make_the_file_that_the_whole_makes(tmp_path: Path, dtype, channels):
    image = noise(70, 90, 3, dtype=dtype) if channels == 3 else noise(70, 90, dtype=dtype)
    bands = (image[a:b] for a, b in ((0, 1), (1, 33), (33, 33), (33, 70)))
    write_rows(tmp_path / "a.tif", bands, shape=image.shape, dtype=dtype)
    write_image(tmp_path / "b.tif", image)
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()
    assert np.array_equal(tifffile.imread(tmp_path / "a.tif"), image)
    seen = cv2.imread(str(tmp_path / "a.tif"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(seen if channels == 1 else seen[..., ::-1], image)


def camera() -> Metadata:
    return Metadata(
        {0x010F: "FLIR", 0x010E: "a bridge"},
        {0x829A: 0.005, 0xA002: 7, 0xA003: 7, 0x9003: "2024:05:17 21:14:03"},
        {1: "N", 2: (49.0, 24.0, 36.5)},
        b"profile" * 9,
    )


@pytest.mark.parametrize("big", [False, True])
def test_metadata_is_written_beside_rows(tmp_path: Path, monkeypatch, big):
    if big:
        monkeypatch.setattr("fusionkit.io.tiff._CLASSIC", 0)
    path, image = tmp_path / "a.tif", noise(70, 90)
    write_rows(path, [image], shape=image.shape, dtype=np.uint16, metadata=camera())
    assert np.array_equal(read_image(path), image)
    again = read_metadata(path)
    assert again.image | camera().image == again.image
    assert again.place[1] == "N"
    assert [float(v) for v in again.place[2]] == pytest.approx([49.0, 24.0, 36.5])
    assert (again.exposure[0xA003], again.exposure[0xA002]) == (70, 90)
    assert again.profile == camera().profile
    with tifffile.TiffFile(path) as file:
        assert file.is_bigtiff == big
        assert len(file.pages) == 1
        tags = file.pages.first.tags
        assert tags[0x8769].value["ExposureTime"] == pytest.approx(0.005)
        assert tags[0x8825].value["GPSLatitudeRef"] == "N"
    with Image.open(path) as seen:
        assert seen.getexif()[0x010F] == "FLIR"
        assert np.array_equal(np.asarray(seen), image)


@pytest.mark.parametrize(
    ("bands", "shape", "dtype", "name"),
    [
        ([noise(5, 9)], (6, 9), np.uint16, "a.tif"),
        ([noise(5, 9), noise(2, 9)], (6, 9), np.uint16, "a.tif"),
        ([noise(6, 8)], (6, 9), np.uint16, "a.tif"),
        ([noise(6, 9, 3)], (6, 9), np.uint16, "a.tif"),
        ([noise(6, 9)], (6, 9), np.float64, "a.tif"),
        ([noise(6, 9)], (6, 9, 4), np.uint16, "a.tif"),
        ([noise(6, 9)], (6, 9), np.uint16, "a.png"),
    ],
)
def test_bands_that_do_not_fit_leave_no_file(tmp_path: Path, bands, shape, dtype, name):
    with pytest.raises(FusionkitError, match=name):
        write_rows(tmp_path / name, bands, shape=shape, dtype=dtype)
    assert not list(tmp_path.iterdir())


def test_a_failure_between_bands_leaves_no_file(tmp_path: Path):
    def bands():
        yield noise(3, 9)
        raise KeyError("network")

    with pytest.raises(KeyError, match="network"):
        write_rows(tmp_path / "a.tif", bands(), shape=(6, 9), dtype=np.uint16)
    assert not list(tmp_path.iterdir())


def test_windows_of_a_large_file_take_little_memory(tmp_path: Path):
    height, width = 8192, 4096
    rows = np.arange(height, dtype=np.uint16)
    bands = (np.broadcast_to(rows[i : i + 256, None], (256, width)) for i in range(0, height, 256))
    tracemalloc.start()
    write_rows(tmp_path / "a.tif", bands, shape=(height, width), dtype=np.uint16)
    tiles = (np.full((256, 256), y, np.uint16) for y in range(32) for _ in range(16))
    tifffile.imwrite(
        tmp_path / "b.tif",
        tiles,
        shape=(height, width),
        dtype=np.uint16,
        tile=(256, 256),
        compression="deflate",
        bigtiff=True,
    )
    for name in ("a.tif", "b.tif"):
        opened = open_image(tmp_path / name)
        for top in range(0, height, 512):
            part = opened.read_window(slice(top, top + 512), slice(0, width))
            assert part[300, 7] == (rows[top + 300] if name == "a.tif" else (top + 300) // 256)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 24e6  # the whole is 67 MB, a window is 4 MB


@pytest.mark.skipif(sys.platform == "win32", reason="needs sparse files")
def test_a_bigtiff_beyond_four_gigabytes_is_read_by_windows(tmp_path: Path):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        offset, _ = file.write(
            shape=(50_000, 50_000), dtype=np.uint16, photometric="minisblack", returnoffset=True
        )
    assert path.stat().st_blocks * 512 < 1e6  # all but its ends is a hole
    with path.open("r+b") as file:
        file.seek(offset + 2 * (49_000 * 50_000 + 123))
        file.write(b"\7\1")
    opened = open_image(path)
    assert opened.size == (50_000, 50_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    part = opened.read_window(slice(49_000, 49_064), slice(100, 200))
    assert part[0, 23] == 263
    assert part.sum() == 263
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40_000  # in KiB


def test_threads_read_without_noise_and_leave_logging_as_it_was(tmp_path: Path):
    """The silence around decoders is that of all threads together, and ends with the last one."""
    code = """
import logging, threading, warnings
from pathlib import Path
import numpy as np, sys
from fusionkit.errors import FusionkitError
from fusionkit.io.images import read_image, write_image
folder = Path(sys.argv[1])
write_image(folder / "a.tif", np.zeros((200, 300), np.uint16))
(folder / "b.tif").write_bytes((folder / "a.tif").read_bytes()[:150])
def work():
    for _ in range(30):
        read_image(folder / "a.tif")
        try:
            read_image(folder / "b.tif")
        except FusionkitError:
            pass
        else:
            raise SystemExit(3)
threads = [threading.Thread(target=work) for _ in range(8)]
filters = list(warnings.filters)
for t in threads: t.start()
for t in threads: t.join()
assert warnings.filters == filters
assert not logging.getLogger("tifffile").filters
"""
    result = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize("arguments", [{}, {"compression": "deflate", "rowsperstrip": 8}])
@pytest.mark.parametrize("height", [73, 16_711_720])
def test_a_height_that_the_file_can_not_have_costs_no_memory(tmp_path: Path, height, arguments):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise(70, 90), photometric="minisblack", metadata=None, **arguments)
    with tifffile.TiffFile(path, mode="r+b") as file:
        file.pages.first.tags[257].overwrite(height, dtype="I")
    tracemalloc.start()
    for read in (read_image, lambda path: open_image(path).read_window(slice(0, 9), slice(0, 9))):
        with pytest.raises(FusionkitError, match=r"a\.tif is damaged"):
            read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1e7


def test_too_little_memory_is_said(tmp_path: Path, monkeypatch):
    write_image(tmp_path / "a.tif", noise(70, 90))

    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(tifffile.TiffPage, "asarray", fail)
    with pytest.raises(FusionkitError, match=r"a\.tif: .*memory"):
        read_image(tmp_path / "a.tif")
