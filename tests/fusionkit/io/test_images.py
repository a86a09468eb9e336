"""Reading and writing image files, against Pillow, OpenCV and tifffile."""

from __future__ import annotations

import stat
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from fusionkit.errors import FusionkitError, WriteError
from fusionkit.io.images import (
    from_float,
    has_colour,
    image_size,
    list_images,
    open_image,
    read_image,
    to_float,
    write_image,
)

HELD = [
    (".png", np.uint8),
    (".png", np.uint16),
    (".tif", np.uint8),
    (".tiff", np.uint16),
    (".tif", np.float32),
    (".bmp", np.uint8),
]


def picture(dtype: type, channels: int = 3, size: tuple[int, int] = (21, 34)) -> np.ndarray:
    shape = (*size, channels) if channels > 1 else size
    noise = np.random.default_rng(0).random(shape)
    if np.dtype(dtype).kind == "f":
        return noise.astype(dtype)
    return (noise * np.iinfo(dtype).max).astype(dtype)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("suffix", "dtype"), HELD)
def test_what_is_written_is_read_again(tmp_path: Path, suffix, dtype, channels):
    image = picture(dtype, channels)
    path = tmp_path / f"a{suffix}"
    write_image(path, image)
    again = read_image(path)
    assert again.dtype == image.dtype
    assert np.array_equal(again, image)
    assert image_size(path) == (21, 34)
    assert open_image(path).dtype == image.dtype
    assert [p.name for p in tmp_path.iterdir()] == [path.name]  # no temporary file is left


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("suffix", "dtype"), HELD)
def test_opencv_reads_what_is_written_and_the_other_way(tmp_path: Path, suffix, dtype, channels):
    image = picture(dtype, channels)
    write_image(tmp_path / f"a{suffix}", image)
    seen = cv2.imread(str(tmp_path / f"a{suffix}"), cv2.IMREAD_UNCHANGED)
    turned = image[..., ::-1].copy() if channels == 3 else image
    assert np.array_equal(seen, turned)
    cv2.imwrite(str(tmp_path / f"b{suffix}"), turned)
    assert np.array_equal(read_image(tmp_path / f"b{suffix}"), image)


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_written_with_little_loss_and_read_as_pillow_reads_it(tmp_path: Path, channels):
    smooth = cv2.GaussianBlur(picture(np.uint8, channels, (64, 80)), (0, 0), 5)
    path = tmp_path / "a.jpg"
    write_image(path, smooth)
    again = read_image(path)
    assert again.shape == smooth.shape
    assert np.array_equal(again, np.asarray(Image.open(path)))
    assert np.abs(again.astype(int) - smooth).mean() < 1.5


def test_a_new_file_has_the_usual_permissions(tmp_path: Path):
    (tmp_path / "usual").touch()
    write_image(tmp_path / "a.png", picture(np.uint8))
    assert stat.S_IMODE((tmp_path / "a.png").stat().st_mode) == stat.S_IMODE(
        (tmp_path / "usual").stat().st_mode
    )


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "a.jpg"
    write_image(path, picture(np.uint8))
    old = path.read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(WriteError, match="disk full"):
        write_image(path, picture(np.uint8, size=(5, 5)))
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "image", "message"),
    [
        (
            "a.png",
            picture(np.float32),
            r"a\.png: \.png holds no floating-point pixels; write \.tif",
        ),
        ("a.jpg", picture(np.uint16), r"\.jpg holds 8 bits per channel, the image is uint16"),
        ("a.bmp", picture(np.uint16), r"\.bmp holds 8 bits per channel"),
        ("a.jpeg", picture(np.float32), r"\.jpeg holds 8 bits per channel, the image is float32"),
        ("a.png", picture(np.float64), "uint8, uint16 or float32, found float64"),
        ("a.gif", picture(np.uint8), r"expected one of the formats \.png.*, found \.gif"),
        ("a.webp", picture(np.uint16), r"\.webp holds 8 bits per channel"),
        ("a.avif", picture(np.float32), r"\.avif holds 8 bits per channel"),
        ("a.webp", np.zeros((1, 16384), np.uint8), r"16383 pixels .* has 16384"),
        ("a.png", picture(np.uint8, 4), r"expected an image of shape .*, found \(21, 34, 4\)"),
        ("no/a.png", picture(np.uint8), r"no/a\.png can't be written: No such file"),
    ],
)
def test_what_a_format_cannot_hold_is_refused(tmp_path: Path, name, image, message):
    with pytest.raises(FusionkitError, match=message):
        write_image(tmp_path / name, image)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "1", "L", "RGB"])
def test_alpha_is_dropped_and_palettes_expand(tmp_path: Path, mode):
    stored = Image.fromarray(picture(np.uint8)).convert(mode)
    stored.save(tmp_path / "a.png")
    expected = np.asarray(stored.convert("L" if mode in ("LA", "1", "L") else "RGB"))
    assert np.array_equal(read_image(tmp_path / "a.png"), expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_alpha_of_deep_png_is_dropped(tmp_path: Path, channels):
    import imagecodecs

    image = picture(np.uint16, channels + 1)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(image))
    assert np.array_equal(read_image(tmp_path / "a.png"), image[..., :channels].squeeze())


def test_grey_stored_as_rgb_stays_rgb(tmp_path: Path):
    image = np.repeat(picture(np.uint8, 1)[..., None], 3, axis=2)
    write_image(tmp_path / "a.png", image)
    assert np.array_equal(read_image(tmp_path / "a.png"), image)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif"])
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1"])
def test_the_type_is_read_without_the_pixels(tmp_path: Path, mode, suffix):
    path = tmp_path / f"a{suffix}"
    stored = Image.fromarray(picture(np.uint8)).convert(mode)
    (stored.convert("L") if suffix == ".jpg" and mode == "P" else stored).save(path)
    assert open_image(path).dtype == read_image(path).dtype == np.uint8
    with pytest.raises(FusionkitError, match=r"image .*none.* does not exist"):
        open_image(tmp_path / f"none{suffix}")


def test_grey_stored_as_rgb_has_no_colour():
    grey = picture(np.uint16, 1)
    rgb = np.repeat(grey[..., None], 3, axis=2)
    assert not has_colour(grey)
    assert not has_colour(rgb)
    rgb[3, 4, 1] ^= 1
    assert has_colour(rgb)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_orientation_is_applied_as_pillow_does(tmp_path: Path, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a{suffix}"
    Image.fromarray(picture(np.uint8)).save(path, exif=exif)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    assert np.array_equal(read_image(path), expected)
    assert image_size(path) == expected.shape[:2]


def test_the_size_of_a_png_is_read_without_its_pixels(tmp_path: Path):
    path = tmp_path / "a.png"
    write_image(path, picture(np.uint8, size=(300, 200)))
    path.write_bytes(path.read_bytes()[:200])
    assert image_size(path) == (300, 200)


@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
def test_tiff_with_planes_palette_and_inverted_grey(tmp_path: Path, compression):
    path, image = tmp_path / "a.tif", picture(np.uint8)
    planes = image.transpose(2, 0, 1)
    tifffile.imwrite(
        path, planes, photometric="rgb", planarconfig="separate", compression=compression
    )
    assert np.array_equal(read_image(path), image)
    tifffile.imwrite(path, image[..., 0], photometric="miniswhite", compression=compression)
    assert np.array_equal(read_image(path), 255 - image[..., 0])
    few = Image.fromarray(image).quantize(16)
    few.save(path)
    assert np.array_equal(read_image(path), np.asarray(few.convert("RGB")))


def test_tiff_of_other_byte_order_and_double_precision(tmp_path: Path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, picture(np.uint16, 1), byteorder=">")
    assert np.array_equal(read_image(path), picture(np.uint16, 1))
    assert read_image(path).dtype == np.uint16
    tifffile.imwrite(path, picture(np.float64, 1))
    assert read_image(path).dtype == np.float32


def test_tiff_that_is_no_single_image_is_refused(tmp_path: Path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((3, 20, 30), np.uint8), photometric="minisblack")
    with pytest.raises(FusionkitError, match=r"a\.tif: .* found 3"):
        read_image(path)
    tifffile.imwrite(path, np.zeros((20, 30), np.int16))
    with pytest.raises(FusionkitError, match="expected 8 or 16 bits per channel or float, found"):
        read_image(path)
    tifffile.imwrite(path, np.zeros((20, 30, 4), np.uint8), photometric="separated")
    with pytest.raises(FusionkitError, match="expected grey, RGB or palette colour"):
        read_image(path)


@pytest.mark.parametrize("channels", [1, 3])
def test_nan_and_infinite_pixels_are_counted_and_placed(tmp_path: Path, channels):
    image = picture(np.float32, channels)
    image[4, 7], image[9, 2] = np.nan, np.inf
    write_image(tmp_path / "a.tif", image)
    expected = r"a\.tif: .* found 2 pixels that are NaN or infinite, the first at row 4, column 7"
    with pytest.raises(FusionkitError, match=expected):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("part", [0.0, 0.001, 0.1, 0.5, 0.95])
@pytest.mark.parametrize(("suffix", "dtype"), [*HELD, *((s, np.uint8) for s in (".jpg", ".webp"))])
def test_truncated_files_are_named(tmp_path: Path, suffix, dtype, part, capsys):
    path = tmp_path / f"a{suffix}"
    write_image(path, picture(dtype, size=(64, 64)))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(FusionkitError, match=rf"a{suffix} is damaged or no image: ") as caught:
        read_image(path)
    assert "\n" not in str(caught.value)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_flipped_bit_in_a_png_is_found(tmp_path: Path, dtype):
    path = tmp_path / "a.png"
    write_image(path, picture(dtype, size=(64, 64)))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)
    with pytest.raises(FusionkitError, match="is damaged"):
        read_image(path)


@pytest.mark.parametrize("read", [read_image, image_size])
def test_what_is_no_image_is_refused(tmp_path: Path, read):
    with pytest.raises(FusionkitError, match=r"image .*a\.png does not exist"):
        read(tmp_path / "a.png")
    (tmp_path / "b.png").mkdir()
    with pytest.raises(FusionkitError, match="expected an image, found the folder"):
        read(tmp_path / "b.png")
    (tmp_path / "c.gif").touch()
    with pytest.raises(FusionkitError, match=r"expected one of the formats .*found \.gif"):
        read(tmp_path / "c.gif")
    for suffix in (".png", ".jpg", ".bmp", ".tif"):
        (tmp_path / f"d{suffix}").write_text("this is a text")
        with pytest.raises(FusionkitError, match="is damaged or no image"):
            read(tmp_path / f"d{suffix}")


def test_files_that_may_not_be_read_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_image(tmp_path / "a.png", picture(np.uint8))
    write_image(tmp_path / "a.tif", picture(np.uint8))

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # root may read all
    monkeypatch.setattr(Path, "iterdir", refuse)
    monkeypatch.setattr(tifffile, "TiffFile", refuse)
    for name in ("a.png", "a.tif"):
        with pytest.raises(FusionkitError, match="can't be read: permission denied"):
            read_image(tmp_path / name)
        with pytest.raises(FusionkitError, match="can't be read: permission denied"):
            image_size(tmp_path / name)
    with pytest.raises(FusionkitError, match=r"folder .* can't be read: permission denied"):
        list_images(tmp_path)


def test_a_folder_is_listed_by_stem_without_leftovers(tmp_path: Path):
    for name in ("b.png", "a.JPG", "c.tif", "notes.txt", ".b-x.png"):
        (tmp_path / name).touch()
    (tmp_path / "d.png").mkdir()
    assert {stem: path.name for stem, path in list_images(tmp_path).items()} == {
        "a": "a.JPG",
        "b": "b.png",
        "c": "c.tif",
    }
    assert list(list_images(tmp_path)) == ["a", "b", "c"]


def test_folders_that_cannot_be_listed(tmp_path: Path):
    with pytest.raises(FusionkitError, match=r"folder .*/none does not exist"):
        list_images(tmp_path / "none")
    (tmp_path / "a.png").touch()
    with pytest.raises(FusionkitError, match=r"found the file .*a\.png"):
        list_images(tmp_path / "a.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FusionkitError, match=r"expected images \(\.png, .*empty, found none"):
        list_images(tmp_path / "empty")
    (tmp_path / "a.jpg").touch()
    with pytest.raises(FusionkitError, match=r"two images called 'a': a\.jpg and a\.png"):
        list_images(tmp_path)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_floats_and_back_for_every_value(dtype):
    values = np.arange(np.iinfo(dtype).max + 1, dtype=dtype)
    floats = to_float(values)
    assert floats.dtype == np.float32
    assert floats.min() == 0
    assert floats.max() == 1
    assert np.array_equal(from_float(floats, dtype), values)


def test_from_float_rounds_and_saturates():
    x = np.array([-0.5, 0.0, 0.4999 / 255, 0.51 / 255, 1.0, 7.0], np.float32)
    assert from_float(x, np.uint8).tolist() == [0, 0, 0, 1, 255, 255]
    assert from_float(x, np.uint16).tolist()[-2:] == [65535, 65535]
    assert from_float(x[1:5], np.float64).dtype == np.float64


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.array([0.0, 255.0]), r"expected float pixels in \[0, 1\], found 0 to 255; scale"),
        (np.array([-0.5, 0.5]), "found -0.5 to 0.5"),
        (np.array([np.nan, 0.5]), "found nan"),
        (np.array([np.inf, 0.5]), "found 0.5 to inf"),
        (np.array([1, 2]), "expected an image of uint8, uint16 or float .* found int64"),
        (np.array([True]), "found bool"),
    ],
)
def test_pixels_without_a_known_range_are_refused(image, message):
    with pytest.raises(FusionkitError, match=message):
        to_float(image)


def test_real_images_read_as_pillow_reads_them(data_root: Path):
    for folder in ("roadscene/vi", "roadscene/ir", "harvard/mri_pet/pet", "harvard/mri_ct/ct"):
        for path in list(list_images(data_root / folder).values())[:3]:
            with Image.open(path) as image:
                expected = np.asarray(image)
            assert np.array_equal(read_image(path), expected)
            assert image_size(path) == expected.shape[:2]


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "LA", "1", "I;16", "F"])
def test_pillow_images_are_read_as_their_files_are(tmp_path: Path, mode: str):
    image = Image.fromarray(picture(np.uint8)).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / ("a.tif" if mode == "F" else "a.png")
    image.save(path, exif=exif)
    with Image.open(path) as reopened:
        found = open_image(reopened)
        assert np.array_equal(found.read(), read_image(path))
    assert (found.size, found.dtype) == (open_image(path).size, open_image(path).dtype)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_nan_pixels_of_an_array_are_found_when_it_is_opened(dtype):
    image = np.zeros((12, 9, 3), dtype)
    image[4, 7, 1] = np.nan
    with pytest.raises(FusionkitError, match=r"visible: .* row 4, column 7"):
        open_image(image, "visible")


def test_pillow_images_of_other_modes_are_refused():
    with pytest.raises(FusionkitError, match=r"expected a grey or RGB image, found .* mode LAB"):
        open_image(Image.new("LAB", (20, 20)))
