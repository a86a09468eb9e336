"""What the camera wrote beside the pixels survives, in every format that can hold it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from fusionkit.io.images import read_image, write_image
from fusionkit.io.metadata import Metadata, read_metadata
from fusionkit.io.tiff import write_rows

EXPOSURE, PLACE = 0x8769, 0x8825
TAKEN = "2024:05:17 21:14:03"
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def camera(orientation: int = 1) -> Image.Exif:
    exif = Image.Exif()
    exif[0x010E] = "a bridge at night"
    exif[0x010F], exif[0x0110], exif[0x0132] = "FLIR", "Duo Pro R", TAKEN
    exif[0x0112] = orientation
    exif[0x8298] = "© Jörg"
    exif[EXPOSURE] = {0x829A: 0.005, 0x9003: TAKEN, 0xA002: 34, 0xA003: 21}
    exif[PLACE] = {1: "N", 2: (49.0, 24.0, 36.5), 3: "E", 4: (8.0, 40.0, 12.25)}
    return exif


def pixels(dtype: type = np.uint8, channels: int = 3) -> np.ndarray:
    shape = (21, 34, 3)[: 2 + (channels == 3)]
    noise = np.random.default_rng(0).random(shape)
    return (noise * (np.iinfo(dtype).max if dtype != np.float32 else 1)).astype(dtype)


def photograph(folder: Path, suffix: str) -> Path:
    path = folder / f"camera{suffix}"
    image = Image.fromarray(pixels())
    image.save(path, exif=camera().tobytes(), icc_profile=PROFILE)
    return path


HELD = [
    (".png", np.uint8),
    (".png", np.uint16),
    (".jpg", np.uint8),
    (".tif", np.uint8),
    (".tif", np.uint16),
    (".tif", np.float32),
]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("target", "dtype"), HELD)
@pytest.mark.parametrize("source", [".jpg", ".png", ".tif"])
def test_time_place_camera_and_colours_survive(tmp_path: Path, source, target, dtype, channels):
    metadata = read_metadata(photograph(tmp_path, source))
    assert metadata.profile == PROFILE
    path = tmp_path / f"fused{target}"
    image = pixels(dtype, channels)
    write_image(path, image, metadata)
    if target != ".jpg":
        assert np.array_equal(read_image(path), image)
    again = read_metadata(path)
    assert again.profile == PROFILE
    assert again.image[0x010F] == "FLIR"
    assert again.image[0x0110] == "Duo Pro R"
    assert again.image[0x0132] == TAKEN
    assert again.image[0x010E] == "a bridge at night"
    assert again.exposure[0x829A] == pytest.approx(0.005)
    assert again.exposure[0x9003] == TAKEN
    assert [float(v) for v in again.place[2]] == pytest.approx([49.0, 24.0, 36.5])
    assert (again.place[1], again.place[3]) == ("N", "E")
    if dtype != np.float32 and not (target == ".tif" and dtype == np.uint16 and channels == 3):
        with Image.open(path) as opened:  # and Pillow itself sees them
            exif = opened.getexif()
            assert exif.get(0x0112, 1) == 1
            assert exif[0x0110] == "Duo Pro R"
            assert exif.get_ifd(PLACE)[3] == "E"
            assert opened.info["icc_profile"] == PROFILE


@pytest.mark.parametrize("target", [".png", ".jpg", ".tif"])
def test_pixels_are_upright_and_marked_so(tmp_path: Path, target):
    lying = tmp_path / "lying.jpg"
    Image.fromarray(pixels()).save(lying, exif=camera(orientation=6))
    upright = read_image(lying)
    assert upright.shape == (34, 21, 3)
    path = tmp_path / f"fused{target}"
    write_image(path, upright, read_metadata(lying))
    assert read_image(path).shape == (34, 21, 3)  # not turned once more
    with Image.open(path) as opened:
        assert opened.getexif().get(0x0112, 1) == 1
        exposure = opened.getexif().get_ifd(EXPOSURE)
    assert (exposure[0xA003], exposure[0xA002]) == (34, 21)  # height and width of the result


def test_thumbnail_and_maker_notes_are_dropped(tmp_path: Path):
    exif = camera()
    exif[EXPOSURE] = {**exif[EXPOSURE], 0x927C: b"maker" * 20}
    path = tmp_path / "a.jpg"
    Image.fromarray(pixels()).save(path, exif=exif)
    assert b"makermaker" in path.read_bytes()
    write_image(tmp_path / "b.jpg", pixels(), read_metadata(path))
    assert b"maker" not in (tmp_path / "b.jpg").read_bytes()
    assert b"Duo Pro R" in (tmp_path / "b.jpg").read_bytes()


def test_an_image_without_metadata_gets_none(tmp_path: Path):
    for suffix in (".png", ".jpg", ".tif", ".bmp"):
        plain = tmp_path / f"plain{suffix}"
        write_image(plain, pixels())
        assert read_metadata(plain) == Metadata()
        write_image(tmp_path / f"again{suffix}", pixels(), read_metadata(plain))
        assert (tmp_path / f"again{suffix}").read_bytes() == plain.read_bytes()
    tifffile.imwrite(tmp_path / "x.tif", pixels(), resolution=(300, 300))
    assert read_metadata(tmp_path / "x.tif").exif((1, 1)) is None


def test_bitmaps_hold_none(tmp_path: Path):
    write_image(tmp_path / "a.bmp", pixels(), read_metadata(photograph(tmp_path, ".jpg")))
    assert np.array_equal(read_image(tmp_path / "a.bmp"), pixels())


def test_a_tiff_that_pillow_does_not_open_is_read(tmp_path: Path):
    path = tmp_path / "deep.tif"
    write_image(path, pixels(np.float32), read_metadata(photograph(tmp_path, ".jpg")))
    with pytest.raises(Exception, match="cannot identify"):
        Image.open(path).load()
    assert read_metadata(path).place[3] == "E"


def test_the_tags_of_a_tiff_are_in_order_and_their_directories_at_even_places(tmp_path: Path):
    path = tmp_path / "a.tif"
    write_image(path, pixels(channels=1), read_metadata(photograph(tmp_path, ".jpg")))
    with tifffile.TiffFile(path) as file:
        tags = [tag.code for tag in file.pages.first.tags]
        assert tags == sorted(tags)
        assert {EXPOSURE, PLACE, 34675} <= set(tags)
        assert file.pages.first.offset % 2 == 0
        assert len(file.pages) == 1


def test_damaged_metadata_is_left_out(tmp_path: Path):
    path = photograph(tmp_path, ".jpg")
    data = path.read_bytes()
    start = data.index(b"Exif\0\0") + 6
    path.write_bytes(data[:start] + b"\xff" * 200 + data[start + 200 :])
    write_image(tmp_path / "b.png", read_image(path), read_metadata(path))
    assert read_image(tmp_path / "b.png").shape == (21, 34, 3)
    (tmp_path / "c.tif").write_bytes(b"II*\0 nothing")
    assert read_metadata(tmp_path / "c.tif") == Metadata()


def test_what_is_too_long_for_a_jpeg_is_left_out(tmp_path: Path):
    exif = camera()
    exif[0x010E] = "x" * 70000
    Image.fromarray(pixels()).save(tmp_path / "a.png", exif=exif)
    write_image(tmp_path / "b.jpg", pixels(), read_metadata(tmp_path / "a.png"))
    assert (tmp_path / "b.jpg").stat().st_size < 20000


# Georeference

SCALE, TIES, MATRIX, KEYS, DOUBLES, TEXTS, ITEMS, NO_DATA = (
    33550, 33922, 34264, 34735, 34736, 34737, 42112, 42113,
)  # fmt: skip
UTM = "WGS 84 / UTM zone 32N|WGS 84|"
GDAL = (
    "<GDALMetadata>\n"
    '  <Item name="AREA_OR_POINT">Area</Item>\n'
    '  <Item name="STATISTICS_MAXIMUM" sample="0">255</Item>\n'
    '  <Item name="OFFSET" sample="0" role="offset">1</Item>\n'
    "</GDALMetadata>"
)


def map_tags(*, affine: bool = False) -> list[tuple]:
    place = (
        [(MATRIX, 12, 16, (0.5, 0.1, 0, 4e5, 0.1, -0.5, 0, 5e6, 0, 0, 0, 0, 0, 0, 0, 1))]
        if affine
        else [(SCALE, 12, 3, (0.5, 0.5, 0)), (TIES, 12, 6, (0, 0, 0, 4e5, 5e6, 0))]
    )
    keys = (1, 1, 0, 4, 1024, 0, 1, 1, 1025, 0, 1, 1, 1026, 34737, 22, 0, 3072, 0, 1, 32632)
    tags = [
        *place, (KEYS, 3, len(keys), keys), (DOUBLES, 12, 2, (6378137.0, 298.257223563)),
        (TEXTS, 2, len(UTM) + 1, UTM), (ITEMS, 2, len(GDAL) + 1, GDAL), (NO_DATA, 2, 2, "0"),
    ]  # fmt: skip
    return [(*tag, True) for tag in tags]


def geotiff(path: Path, *, affine=False, bigtiff=False, byteorder="<") -> Path:
    tifffile.imwrite(
        path,
        pixels(np.uint16, 1),
        photometric="minisblack",
        metadata=None,
        bigtiff=bigtiff,
        byteorder=byteorder,
        extratags=map_tags(affine=affine),
    )
    return path


@pytest.mark.parametrize("byteorder", "<>")
@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("camera_too", [False, True])
def test_a_geotiff_stays_on_the_map(tmp_path: Path, affine, bigtiff, byteorder, camera_too):
    source = geotiff(tmp_path / "a.tif", affine=affine, bigtiff=bigtiff, byteorder=byteorder)
    metadata = read_metadata(source)
    if camera_too:
        metadata = replace(
            read_metadata(photograph(tmp_path, ".jpg")), georeference=metadata.georeference
        )
    written = tmp_path / "fused.tif"
    write_image(written, pixels(np.uint8, 3), metadata)
    rows = pixels(np.uint8, 3)
    write_rows(tmp_path / "rows.tif", [rows], shape=rows.shape, dtype=np.uint8, metadata=metadata)
    assert (tmp_path / "rows.tif").read_bytes() == written.read_bytes()
    with tifffile.TiffFile(source) as before, tifffile.TiffFile(written) as after:
        assert after.geotiff_metadata == before.geotiff_metadata
        assert after.geotiff_metadata["ProjectedCSTypeGeoKey"] == 32632
        tags = after.pages.first.tags
        for code in (SCALE, TIES, MATRIX, KEYS, DOUBLES, TEXTS):
            assert (code in tags) == (code in before.pages.first.tags)
        assert "AREA_OR_POINT" in tags[ITEMS].value
        assert "STATISTICS" not in tags[ITEMS].value  # of the source's pixels
        assert "OFFSET" not in tags[ITEMS].value
        assert NO_DATA not in tags
        assert len(after.pages) == 1
    assert np.array_equal(read_image(written), rows)
    assert read_metadata(written).georeference == metadata.georeference


def test_a_georeference_is_dropped_where_it_would_be_wrong(tmp_path: Path):
    metadata = read_metadata(geotiff(tmp_path / "a.tif"))
    write_image(tmp_path / "small.tif", pixels(np.uint8, 1)[::2], metadata)
    assert read_metadata(tmp_path / "small.tif").georeference is None
    write_image(tmp_path / "a.png", pixels(np.uint8, 1), metadata)
    assert read_metadata(tmp_path / "a.png") == Metadata()
    turned = tmp_path / "turned.tif"
    tifffile.imwrite(
        turned,
        pixels(np.uint16, 1),
        metadata=None,
        extratags=[*map_tags(), (0x0112, 3, 1, 6, True)],
    )
    assert read_metadata(turned).georeference is None
