"""Display windows: which values become black and white, and which sources get one unasked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from fusionkit.errors import FusionkitError
from fusionkit.io.images import OpenedImage, open_image, write_image
from fusionkit.io.windows import apply_window, find_windows


def folder(path: Path, *images: np.ndarray, suffix: str = ".tif") -> list[OpenedImage]:
    path.mkdir()
    paths = [path / f"{index}{suffix}" for index in range(len(images))]
    for target, image in zip(paths, images, strict=True):
        write_image(target, image)
    return [open_image(path) for path in paths]


def counts(low: int, high: int, seed: int = 0, dtype: type = np.uint16) -> np.ndarray:
    values = np.linspace(low, high, 30 * 40)
    return np.random.default_rng(seed).permutation(values).reshape(30, 40).astype(dtype)


def test_values_are_scaled_and_saturate():
    image = np.array([[0, 7000, 8000, 9000, 65535]], np.uint16)
    found = apply_window(image, (7000, 9000))
    assert found.dtype == np.float32
    assert found.tolist() == [[0, 0, 0.5, 1, 1]]
    kelvin = np.array([[280.0, 300.0, 310.0]])
    np.testing.assert_allclose(apply_window(kelvin, (290, 310)), [[0, 0.5, 1]], rtol=1e-6)
    with pytest.raises(FusionkitError, match="expected an image of uint8, uint16 or float, found"):
        apply_window(image.astype(np.int32), (0, 1))


def test_narrow_16_bit_images_get_one_window_for_all(tmp_path: Path, logged):
    ir = folder(tmp_path / "ir", counts(7000, 8000), counts(8000, 9000))
    windows = find_windows({"infrared": ir}, {})
    together = np.concatenate([counts(7000, 8000), counts(8000, 9000)])
    assert windows["infrared"] == tuple(np.percentile(together, (0.5, 99.5)))
    low, high = windows["infrared"]
    assert logged == [
        f"infrared: values {low:.6g} to {high:.6g} (0.5 % to 99.5 % of 2 images) become 0 to 1; "
        f"another window: --window infrared=LOW:HIGH"
    ]


def test_a_few_hot_pixels_do_not_widen_the_window(tmp_path: Path):
    image = counts(7000, 7100)
    image[0, :3], image[1, 0] = 65535, 0
    windows = find_windows({"infrared": folder(tmp_path / "ir", image)}, {})
    assert 7000 <= windows["infrared"][0] < windows["infrared"][1] <= 7100


@pytest.mark.parametrize(
    ("image", "suffix"),
    [
        (counts(0, 65535), ".tif"),
        (counts(10000, 26600), ".png"),  # 99 % of it is a bit more than a quarter of the range
        (np.full((30, 40), 700, np.uint16), ".png"),
        (np.stack([counts(0, 900), counts(0, 500), counts(0, 500, 1)], axis=-1), ".png"),
        (counts(0, 255, dtype=np.uint8), ".png"),
        (counts(0, 3, dtype=np.uint8), ".tif"),
        (np.linspace(0, 1, 1200, dtype=np.float32).reshape(30, 40), ".tif"),
        (np.linspace(0.4, 0.41, 1200, dtype=np.float32).reshape(30, 40), ".tif"),
    ],
    ids=[
        "whole range", "wide", "one value", "colour", "8 bit", "dark 8 bit", "float", "flat float",
    ],
)  # fmt: skip
def test_what_needs_no_window_gets_none(tmp_path: Path, image, suffix):
    paths = folder(tmp_path / "x", image, suffix=suffix)
    assert find_windows({"visible": paths}, {}) == {}


def test_just_under_a_quarter_gets_one(tmp_path: Path):
    paths = folder(tmp_path / "x", counts(10000, 26400), suffix=".png")
    assert "infrared" in find_windows({"infrared": paths}, {})


def test_float_temperatures_get_one_and_grey_as_rgb_counts_as_grey(tmp_path: Path, logged):
    kelvin = counts(28000, 31000).astype(np.float32) / 100
    windows = find_windows({"infrared": folder(tmp_path / "k", kelvin)}, {})
    (line,) = logged
    assert windows["infrared"] == pytest.approx((280.15, 309.85), abs=0.02)
    low, high = windows["infrared"]
    assert line.startswith(f"infrared: values {low:.6g} to {high:.6g} (0.5 % to 99.5 % of 1 image)")
    rgb = np.repeat(counts(7000, 8000)[..., None], 3, axis=2)
    assert find_windows({"infrared": folder(tmp_path / "rgb", rgb)}, {})
    below = np.linspace(-0.5, 1, 1200, dtype=np.float32).reshape(30, 40)
    assert find_windows({"infrared": folder(tmp_path / "b", below)}, {})


def test_percentiles_of_mixed_types_are_refused(tmp_path: Path):
    paths = folder(tmp_path / "x", counts(7000, 8000), counts(0, 255, dtype=np.uint8))
    with pytest.raises(FusionkitError, match="images of one type, found uint16, uint8; perc"):
        find_windows({"infrared": paths}, {"infrared": "1%:99%"})


def test_an_8_bit_file_among_counts_is_named_and_not_fused_black(tmp_path: Path, logged):
    images = [counts(7000, 8000), counts(0, 255, dtype=np.uint8), counts(7500, 8000)]
    paths = folder(tmp_path / "x", *images)
    windows = find_windows({"infrared": paths}, {})
    alone = find_windows({"infrared": [paths[0], paths[2]]}, {})
    assert windows == alone != {}
    assert any(str(paths[1].path) in line for line in logged)
    assert not any(str(paths[0].path) in line for line in logged)
    with pytest.raises(FusionkitError, match="uint8"):
        apply_window(images[1], windows["infrared"])


def test_counts_among_8_bit_files_are_named(tmp_path: Path, logged):
    eight = counts(0, 255, dtype=np.uint8)
    paths = folder(tmp_path / "x", counts(7000, 8000), eight, eight)
    assert find_windows({"infrared": paths}, {}) == {}
    (line,) = logged
    assert str(paths[0].path) in line


def test_8_bit_files_among_16_bit_photographs_are_no_news(tmp_path: Path, logged):
    images = [counts(0, 65535), counts(0, 65535), counts(0, 255, dtype=np.uint8)]
    assert find_windows({"visible": folder(tmp_path / "x", *images)}, {}) == {}
    assert logged == []


@pytest.mark.parametrize("channels", [1, 3])
def test_large_files_are_measured_by_parts_with_the_same_result(
    tmp_path: Path, monkeypatch, channels
):
    image = counts(7000, 9000)
    if channels == 3:
        image = np.repeat(image[..., None], 3, axis=2)
    paths = folder(tmp_path / "x", image, image[::-1] + 100)
    for sample in (1 << 24, 1000):
        monkeypatch.setattr("fusionkit.io.windows._SAMPLE", sample)
        monkeypatch.setattr("fusionkit.io.windows._PART", 1 << 24)
        whole = find_windows({"infrared": paths}, {})
        monkeypatch.setattr("fusionkit.io.windows._PART", 130)
        assert find_windows({"infrared": paths}, {}) == whole != {}


def test_asked_windows(tmp_path: Path, logged):
    paths = folder(tmp_path / "x", counts(7000, 8000))
    for asked, expected in (
        ("7200:7900", (7200, 7900)),
        ("-20:35.5", (-20, 35.5)),
        ((1.0, 2.0), (1, 2)),
        ("10%:90%", tuple(np.percentile(counts(7000, 8000), (10, 90)))),
    ):
        logged.clear()
        windows = find_windows({"infrared": paths}, {"infrared": asked})
        assert windows["infrared"] == expected
        # A line for what was measured; users know what they typed.
        assert len(logged) == (asked == "10%:90%")
    assert "(10 % to 90 % of 1 image)" in logged[0]
    assert "another window" not in logged[0]
    assert find_windows({"infrared": paths}, {"infrared": "full"}) == {}


def truncate(image: OpenedImage) -> None:
    assert image.path is not None
    image.path.write_bytes(image.path.read_bytes()[:200])


def test_8_bit_images_are_not_read(tmp_path: Path):
    (opened,) = folder(tmp_path / "x", counts(0, 255, dtype=np.uint8), suffix=".png")
    truncate(opened)
    assert find_windows({"visible": [opened]}, {}) == {}
    (deep,) = folder(tmp_path / "y", counts(0, 255), suffix=".png")
    truncate(deep)
    with pytest.raises(FusionkitError, match=r"0\.png is damaged"):
        find_windows({"visible": [deep]}, {})


def test_large_sets_are_sampled_evenly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("fusionkit.io.windows._SAMPLE", 400)
    paths = folder(tmp_path / "x", counts(7000, 8000), counts(7000, 8000, 1))
    windows = find_windows({"infrared": paths}, {"infrared": "25%:75%"})
    assert windows["infrared"] == pytest.approx((7250, 7750), abs=80)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"thermal": "1:2"}, "windows: expected one of infrared, found 'thermal'"),
        ({"infrard": "1:2"}, "did you mean 'infrared'"),
        ({"infrared": "7000"}, r"expected LOW:HIGH \(7000:9000\), LOW%:HIGH% .* found '7000'"),
        ({"infrared": "1%:99"}, "found '1%:99'"),
        ({"infrared": "a:b"}, "found 'a:b'"),
        ({"infrared": "1:2:3"}, "found '1:2:3'"),
        ({"infrared": "9:7"}, "expected a low value below the high one, found 9 and 7"),
        ({"infrared": "nan:7"}, "expected a low value below the high one"),
        ({"infrared": "-1%:99%"}, "expected percentiles from 0% to 100%, found '-1%:99%'"),
        ({"infrared": "1%:101%"}, "expected percentiles from 0% to 100%"),
        (
            {"infrared": "1%:99%"},
            "infrared: the values at 1 % and 99 % of 1 image are both 700; give a window in",
        ),
    ],
)
def test_windows_that_make_no_sense_are_refused(tmp_path: Path, asked, message):
    paths = folder(tmp_path / "x", np.full((30, 40), 700, np.uint16))
    with pytest.raises(FusionkitError, match=message):
        find_windows({"infrared": paths}, asked)


def test_float_images_of_one_value_need_a_window(tmp_path: Path):
    paths = folder(tmp_path / "x", np.full((30, 40), 300, np.float32))
    with pytest.raises(FusionkitError, match="are both 300; give a window in the file's own units"):
        find_windows({"infrared": paths}, {})


def test_images_in_memory_get_only_the_windows_that_are_asked_for():
    images = [open_image(counts(7000, 8000))]
    assert find_windows({"infrared": images}, {}) == {}
    windows = find_windows({"infrared": images}, {"infrared": "0%:100%"})
    assert windows == {"infrared": (7000, 8000)}


def test_tiff_of_big_endian_counts(tmp_path: Path):
    tifffile.imwrite(tmp_path / "a.tif", counts(7000, 8000), byteorder=">")
    assert find_windows({"infrared": [open_image(tmp_path / "a.tif")]}, {})
