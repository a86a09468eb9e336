"""What files hold beside one plain picture, and formats of phones, cameras and the web."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps, features

from fusionkit.errors import FusionkitError
from fusionkit.io.images import list_images, open_image, read_image, write_image
from fusionkit.io.metadata import Metadata, read_metadata
from fusionkit.io.png import encode_png

needs_avif = pytest.mark.skipif(not features.check("avif"), reason="Pillow has no AVIF")
WEB = [".webp", pytest.param(".avif", marks=needs_avif)]


def smooth(*shape: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 4), None, 0, 255, cv2.NORM_MINMAX)


def refused(path: Path) -> str:
    """Return the sentence with which a file is refused, both before and with its pixels."""
    with pytest.raises(FusionkitError, match=path.name) as early:
        open_image(path)
    with pytest.raises(FusionkitError, match=path.name) as late:
        read_image(path)
    assert str(early.value) == str(late.value)
    assert "\n" not in str(early.value)
    assert "damaged" not in str(early.value)
    return str(early.value)


# WebP and AVIF


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("suffix", WEB)
def test_webp_and_avif_are_read_as_pillow_reads_them(tmp_path: Path, suffix, channels):
    image = smooth(70, 90, 3) if channels == 3 else smooth(70, 90)
    path = tmp_path / f"a{suffix}"
    Image.fromarray(image).save(path, quality=80)
    assert np.array_equal(read_image(path), np.asarray(Image.open(path)))
    opened = open_image(path)
    assert (opened.size, opened.dtype) == ((70, 90), np.uint8)
    assert np.array_equal(
        opened.read_window(slice(3, 9), slice(5, 80)), read_image(path)[3:9, 5:80]
    )
    assert list_images(tmp_path) == {"a": path}


@pytest.mark.parametrize("suffix", WEB)
def test_transparency_of_webp_and_avif_is_dropped(tmp_path: Path, suffix):
    path = tmp_path / f"a{suffix}"
    rgba = Image.fromarray(np.dstack([smooth(70, 90, 3), np.full((70, 90), 200, np.uint8)]))
    rgba.save(path, quality=90)
    assert np.array_equal(read_image(path), np.asarray(Image.open(path).convert("RGB")))


@pytest.mark.parametrize("channels", [1, 3])
def test_webp_is_written_without_loss_unless_a_quality_is_given(tmp_path: Path, channels):
    image = smooth(70, 90, 3) if channels == 3 else smooth(70, 90)
    write_image(tmp_path / "a.webp", image)
    seen = cv2.imread(str(tmp_path / "a.webp"))[..., ::-1]
    assert np.array_equal(seen, image if channels == 3 else np.dstack([image] * 3))
    write_image(tmp_path / "b.webp", image, quality=30)
    assert (tmp_path / "b.webp").stat().st_size < (tmp_path / "a.webp").stat().st_size / 3


@needs_avif
def test_avif_is_written_with_a_loss_of_three_grey_levels_at_most(tmp_path: Path):
    image = smooth(70, 90, 3)
    write_image(tmp_path / "a.avif", image)
    assert np.abs(read_image(tmp_path / "a.avif").astype(int) - image).max() <= 3
    write_image(tmp_path / "b.avif", image, quality=30)
    assert (tmp_path / "b.avif").stat().st_size < (tmp_path / "a.avif").stat().st_size / 3


def test_the_quality_of_a_jpeg_counts_and_others_have_none(tmp_path: Path):
    image = smooth(70, 90, 3)
    write_image(tmp_path / "a.jpg", image)
    write_image(tmp_path / "b.jpg", image, quality=95)
    write_image(tmp_path / "c.jpg", image, quality=20)
    assert (tmp_path / "a.jpg").read_bytes() == (tmp_path / "b.jpg").read_bytes()
    assert (tmp_path / "c.jpg").stat().st_size < (tmp_path / "a.jpg").stat().st_size
    for name, quality in (("d.png", 90), ("d.tif", 90), ("d.jpg", 0), ("d.webp", 101)):
        with pytest.raises(FusionkitError, match=name):
            write_image(tmp_path / name, image, quality=quality)


@pytest.mark.parametrize("suffix", WEB)
def test_metadata_and_orientation_of_webp_and_avif(tmp_path: Path, suffix):
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "FLIR", 6
    path = tmp_path / f"a{suffix}"
    Image.fromarray(smooth(70, 90, 3)).save(path, exif=exif, icc_profile=b"profile" * 30)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    assert np.array_equal(read_image(path), upright)
    assert open_image(path).size == upright.shape[:2] == (90, 70)
    metadata = read_metadata(path)
    assert metadata.image[0x010F] == "FLIR"
    assert metadata.profile == b"profile" * 30
    for target in ("b.png", f"b{suffix}"):
        write_image(tmp_path / target, upright, metadata)
        assert read_image(tmp_path / target).shape == upright.shape
        assert read_metadata(tmp_path / target).image == metadata.image
        assert read_metadata(tmp_path / target).profile == metadata.profile


def test_without_avif_in_pillow_one_sentence_says_so(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(features, "check", lambda name: False)
    (tmp_path / "a.avif").write_bytes(b"\0\0\0\x1cftypavif")
    assert "Pillow" in refused(tmp_path / "a.avif")
    with pytest.raises(FusionkitError, match=r"b\.avif: .*Pillow"):
        write_image(tmp_path / "b.avif", smooth(70, 90))


# Several pictures


@pytest.mark.parametrize("suffix", [".png", *WEB])
@pytest.mark.parametrize("count", [2, 5])
def test_animations_are_refused_with_their_number_of_frames(tmp_path: Path, suffix, count):
    path = tmp_path / f"a{suffix}"
    frames = [Image.fromarray(smooth(70, 90, 3, seed=seed)) for seed in range(count)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert f"animation of {count}" in refused(path)


@pytest.mark.parametrize("size", [(70, 90), (40, 120), (80, 100)])
def test_a_jpeg_with_several_full_pictures_is_refused(tmp_path: Path, size):
    path = tmp_path / "a.jpg"
    first = Image.fromarray(smooth(70, 90, 3))
    others = [Image.fromarray(smooth(*size, 3, seed=1)), Image.fromarray(smooth(30, 40, 3))]
    first.save(path, format="MPO", save_all=True, append_images=others)
    assert "found 2 of full size" in refused(path)


def test_previews_in_a_jpeg_are_passed_over_and_counted(tmp_path: Path):
    path = tmp_path / "a.jpg"
    first = Image.fromarray(smooth(70, 90, 3))
    small = [Image.fromarray(smooth(35, 45, 3)), Image.fromarray(smooth(30, 40))]
    first.save(path, format="MPO", save_all=True, append_images=small)
    opened = open_image(path)
    assert (opened.previews, opened.size) == (2, (70, 90))
    with Image.open(path) as image:
        assert np.array_equal(opened.read(), np.asarray(image))
    assert open_image(np.zeros((20, 20))).previews == 0


def test_a_preview_of_full_size_that_the_camera_marks_is_passed_over(data_root: Path):
    path = data_root / "radiometric" / "original" / "H20T_2.jpg"
    opened = open_image(path)
    assert (opened.previews, opened.size, opened.radiometric) == (1, (512, 640), False)
    with Image.open(path) as image:
        assert np.array_equal(opened.read(), np.asarray(image))


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("kind", ["pages", "one page", "ImageJ", "volume", "unequal"])
def test_stacks_are_refused_with_their_number_of_pictures(tmp_path: Path, kind, count):
    path, stack = tmp_path / "a.tif", np.stack([smooth(70, 90)] * count)
    if kind == "pages":
        tifffile.imwrite(path, stack, photometric="minisblack")
    elif kind == "one page":
        tifffile.imwrite(path, stack, photometric="minisblack", truncate=True)
    elif kind == "ImageJ":
        tifffile.imwrite(path, stack, imagej=True)
    elif kind == "volume":
        tifffile.imwrite(path, stack, photometric="minisblack", volumetric=True, tile=(16, 16, 16))
    else:
        with tifffile.TiffWriter(path) as file:
            for side in range(count):
                file.write(smooth(70, 90 - 9 * side), photometric="minisblack")
    assert f"found {'a volume of ' * (kind == 'volume')}{count}" in refused(path)


def test_bands_that_were_written_as_pages_are_called_so(tmp_path: Path):
    tifffile.imwrite(
        tmp_path / "a.tif", np.zeros((240, 320, 4), np.uint16), photometric="minisblack"
    )
    assert "one image with 4 channels" in refused(tmp_path / "a.tif")


@pytest.mark.parametrize("place", ["after", "before", "pyramid", "mask"])
def test_thumbnails_pyramids_and_masks_leave_one_picture(tmp_path: Path, place):
    path, image = tmp_path / "a.tif", smooth(140, 180, 3)
    small = image[::4, ::4].copy()
    with tifffile.TiffWriter(path) as file:
        if place == "before":
            file.write(small, photometric="rgb", subfiletype=1)
        if place == "pyramid":
            file.write(image, photometric="rgb", tile=(32, 32), subifds=1)
            file.write(small, photometric="rgb", tile=(32, 32), subfiletype=1)
        else:
            file.write(image, photometric="rgb")
        if place == "after":
            file.write(small, photometric="rgb", subfiletype=1)
            file.write(small[::2, ::2].copy(), photometric="rgb", subfiletype=1)
        if place == "mask":
            file.write(image[..., 0] > 7, photometric="mask", subfiletype=4)
    assert open_image(path).size == (140, 180)
    assert np.array_equal(read_image(path), image)
    window = open_image(path).read_window(slice(9, 40), slice(50, 99))
    assert np.array_equal(window, image[9:40, 50:99])


# Channels that are no colour


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("bands", [2, 4, 5, 8])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_bands_are_counted_and_refused(tmp_path: Path, dtype, bands, planar):
    path = tmp_path / "a.tif"
    shape = (70, 90, bands) if planar == "contig" else (bands, 70, 90)
    tifffile.imwrite(
        path,
        np.zeros(shape, dtype),
        photometric="minisblack",
        planarconfig=planar,
        extrasamples=["unspecified"] * (bands - 1),
    )
    assert f"{bands} bands" in refused(path)


def test_red_green_blue_and_near_infrared_are_refused(tmp_path: Path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, np.zeros((70, 90, 4), np.uint8), photometric="rgb", extrasamples=["unspecified"]
    )
    assert "4 bands" in refused(path)


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("alpha", ["unassalpha", "assocalpha"])
@pytest.mark.parametrize("channels", [1, 3])
def test_transparency_in_a_tiff_is_dropped(tmp_path: Path, channels, alpha, planar):
    path, image = tmp_path / "a.tif", smooth(70, 90, channels + 1)
    tifffile.imwrite(
        path,
        image if planar == "contig" else image.transpose(2, 0, 1),
        photometric="rgb" if channels == 3 else "minisblack",
        planarconfig=planar,
        extrasamples=[alpha],
    )
    expected = image[..., :channels].squeeze()
    assert np.array_equal(read_image(path), expected)
    window = open_image(path).read_window(slice(9, 40), slice(50, 80))
    assert np.array_equal(window, expected[9:40, 50:80])


def test_rgba_of_opencv_is_read(tmp_path: Path):
    image = smooth(70, 90, 4)
    cv2.imwrite(str(tmp_path / "a.tif"), image)
    assert np.array_equal(read_image(tmp_path / "a.tif"), image[..., 2::-1])


@pytest.mark.parametrize("tile", [None, (32, 32)])
@pytest.mark.parametrize("compression", [None, "lzw", "deflate"])
def test_full_resolution_ycbcr_becomes_rgb(tmp_path: Path, compression, tile):
    path, rgb = tmp_path / "a.tif", smooth(70, 90, 3)
    stored = np.asarray(Image.fromarray(rgb).convert("YCbCr"))
    tifffile.imwrite(
        path, stored, photometric="ycbcr", subsampling=(1, 1), compression=compression, tile=tile
    )
    expected = np.asarray(Image.fromarray(stored, "YCbCr").convert("RGB")).astype(int)
    assert np.abs(read_image(path) - expected).max() <= 1
    window = open_image(path).read_window(slice(9, 40), slice(50, 80))
    assert np.array_equal(window, read_image(path)[9:40, 50:80])


def test_ycbcr_of_video_levels_uses_the_reference_of_the_file(tmp_path: Path):
    """Tag 532 of TIFF 6.0: 16 is black and 235 white, as the specification's example says."""
    path = tmp_path / "a.tif"
    levels = (16, 1, 235, 1, 128, 1, 240, 1, 128, 1, 240, 1)
    stored = np.zeros((20, 30, 3), np.uint8)
    stored[...] = (235, 128, 128)
    stored[:10] = (16, 128, 128)
    tifffile.imwrite(
        path, stored, photometric="ycbcr", subsampling=(1, 1), extratags=[(532, 5, 6, levels, True)]
    )
    assert (read_image(path)[:10] == 0).all()
    assert (read_image(path)[10:] == 255).all()


# Traps


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_exif_after_the_pixels_of_a_png_counts(tmp_path: Path, orientation, dtype):
    path, image = tmp_path / "a.png", smooth(70, 90, 3).astype(dtype)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "FLIR"
    data = exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(data)) + b"eXIf" + data
    chunk += struct.pack(">I", zlib.crc32(b"eXIf" + data))
    plain = encode_png(image)
    path.write_bytes(plain[:-12] + chunk + plain[-12:])
    if dtype == np.uint8:
        assert np.array_equal(
            read_image(path), np.asarray(ImageOps.exif_transpose(Image.open(path)))
        )
    assert read_image(path).shape[:2] == open_image(path).size
    assert open_image(path).size == ((90, 70) if orientation == 6 else (70, 90))
    assert read_metadata(path).image[0x010F] == "FLIR"


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.webp", "a.bmp"])
def test_an_image_is_read_whatever_its_suffix_says(tmp_path: Path, name):
    image = smooth(70, 90, 3)
    for suffix in (".png", ".tif", ".bmp", ".webp"):
        write_image(tmp_path / f"x{suffix}", image, Metadata({0x010F: "FLIR"}))
        (tmp_path / f"x{suffix}").replace(tmp_path / name)
        assert np.array_equal(read_image(tmp_path / name), image)
        assert open_image(tmp_path / name).size == (70, 90)
        if suffix != ".bmp":
            assert read_metadata(tmp_path / name).image[0x010F] == "FLIR"


@pytest.mark.parametrize("kind", ["EPS", "GIF", "PPM", "PDF", "ICNS", "TGA"])
def test_formats_beyond_ours_are_refused_under_any_name(tmp_path: Path, kind, monkeypatch):
    def started(*_: object, **__: object) -> None:
        raise AssertionError("a program was started")

    path = tmp_path / "a.png"
    Image.fromarray(smooth(128, 128, 3)).save(path, format=kind)
    monkeypatch.setattr("subprocess.Popen", started)
    monkeypatch.setattr("os.system", started)
    with pytest.raises(FusionkitError, match="no known image format"):
        read_image(path)
    with pytest.raises(FusionkitError, match="no known image format"):
        open_image(path)
    assert read_metadata(path) == Metadata()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_a_pipe_named_like_an_image_does_not_hang(tmp_path: Path, suffix):
    path = tmp_path / f"a{suffix}"
    os.mkfifo(path)
    for read in (open_image, read_image):
        with pytest.raises(FusionkitError, match="pipe"):
            read(path)
    assert read_metadata(path) == Metadata()
    with pytest.raises(FusionkitError, match="found none"):
        list_images(tmp_path)


# PNG


@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 3), (3, 40_000), (900, 1), (301, 700, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_what_we_encode_as_png_is_decoded_by_others(dtype, shape):
    top = np.iinfo(dtype).max
    image = np.random.default_rng(0).integers(0, top, shape, dtype=dtype, endpoint=True)
    data = encode_png(image)
    assert np.array_equal(imagecodecs.png_decode(data), image)
    seen = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(seen if image.ndim == 2 else seen[..., ::-1], image)


def test_a_large_png_is_split_into_chunks(monkeypatch):
    monkeypatch.setattr("fusionkit.io.png._LARGEST_CHUNK", 1000)
    image = np.random.default_rng(0).integers(0, 256, (70, 90), dtype=np.uint8)
    data = encode_png(image)
    assert data.count(b"IDAT") == 7
    assert np.array_equal(imagecodecs.png_decode(data), image)
