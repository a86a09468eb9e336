"""What the camera wrote beside the pixels survives, in every format that can hold it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from fusionkit.io.images import read_image, write_image
from fusionkit.io.metadata import Metadata, read_metadata

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
