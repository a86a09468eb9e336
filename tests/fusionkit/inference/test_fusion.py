"""Fusing arrays, with a backbone that averages: what comes out is known exactly."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage.color import rgb2ycbcr

import fusionkit as fk
from fusionkit.api import fuse
from fusionkit.errors import FusionkitError
from fusionkit.functional.colour_rules import COLOUR_RULES
from fusionkit.interfaces import Backbone, Images
from fusionkit.io.images import write_image


class Mean(Backbone):
    """The mean of the sources, for sizes in steps of 16 only."""

    name = "mean"
    stride = 16

    def forward(self, sources: Images) -> torch.Tensor:
        for x in sources.values():
            assert x.shape[-2] % 16 == 0
            assert x.shape[-1] % 16 == 0
            assert x.dtype == torch.float32
        return torch.stack(list(sources.values())).mean(dim=0)


class Broken(Backbone):
    """Gives NaN, as a network whose training diverged."""

    name = "broken"

    def forward(self, sources: Images) -> torch.Tensor:
        return next(iter(sources.values())) * torch.nan


def picture(dtype: type = np.uint8, channels: int = 1, size=(40, 53), seed: int = 0) -> np.ndarray:
    shape = (*size, channels) if channels > 1 else size
    noise = np.random.default_rng(seed).random(shape)
    if np.dtype(dtype).kind == "f":
        return noise.astype(dtype)
    return np.rint(noise * np.iinfo(dtype).max).astype(dtype)


@settings(deadline=None, max_examples=30)
@given(h=st.integers(16, 70), w=st.integers(16, 70))
def test_any_size_comes_back_exactly(h, w):
    ir, vi = picture(size=(h, w)), picture(size=(h, w), seed=1)
    fused = fuse(Mean(), {"infrared": ir, "visible": vi})
    assert fused.shape == (h, w)
    exact = (ir.astype(float) + vi) / 2
    assert np.abs(fused - exact).max() <= 0.5 + 1e-4


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_same_image_twice_comes_back_bit_by_bit(dtype, channels):
    image = picture(dtype, channels)
    fused = fuse(Mean(), {"infrared": image, "visible": image})
    assert fused.dtype == dtype
    if np.dtype(dtype).kind == "f":
        np.testing.assert_allclose(fused, image, atol=1e-6)
    else:
        assert np.array_equal(fused, image)


def test_chroma_of_the_colour_source_is_put_back():
    # Weak colours and a middling brightness, so that no pixel needs its chroma scaled down.
    vi = (100 + 40 * picture(np.float32, 3)).astype(np.uint8)
    ir = (100 + 40 * picture(np.float32)).astype(np.uint8)
    fused = fuse(Mean(), {"infrared": ir, "visible": vi}, colour_rule="ycbcr")
    assert fused.shape == vi.shape
    grey = fuse(Mean(), {"infrared": ir, "visible": vi}, colour="none")
    assert grey.shape == ir.shape
    assert np.abs(rgb2ycbcr(fused)[..., 1:] - rgb2ycbcr(vi)[..., 1:]).max() < 1.0
    assert np.abs(cv2.cvtColor(fused, cv2.COLOR_RGB2GRAY).astype(int) - grey).max() <= 1


def test_colour_is_scaled_with_luminance_unless_told_otherwise():
    dull = np.full((16, 16, 3), (80, 40, 20), np.uint8)
    bright = np.full((16, 16), 150, np.uint8)
    sources = {"infrared": bright, "camera": dull}
    fused = fuse(Mean(), sources)
    luma = cv2.cvtColor(dull, cv2.COLOR_RGB2GRAY).astype(int)
    assert np.abs(cv2.cvtColor(fused, cv2.COLOR_RGB2GRAY) - (luma + 150) / 2).max() <= 1.5
    before, after, kept = (
        cv2.cvtColor(image, cv2.COLOR_RGB2HSV)[0, 0].astype(int)
        for image in (dull, fused, fuse(Mean(), sources, colour_rule="ycbcr"))
    )
    assert abs(after[0] - before[0]) <= 2
    assert kept[1] < after[1] <= before[1]
    assert np.array_equal(fuse(Mean(), sources, colour_rule="oklab"), fused)
    with pytest.raises(FusionkitError, match="found 'rgb'"):
        fuse(Mean(), sources, colour_rule="rgb")


@pytest.mark.parametrize("rule", COLOUR_RULES)
def test_every_rule_gives_the_colour_source_back_where_its_luminance_is_fused(rule):
    class Second(Mean):
        def forward(self, sources):
            return sources["visible"]

    for dtype in (np.uint8, np.uint16):
        vi = picture(dtype, 3)
        fused = fuse(Second(), {"infrared": picture(dtype), "visible": vi}, colour_rule=rule)
        assert np.abs(fused.astype(int) - vi).max() <= 1


def test_the_colour_source_is_found():
    ir, vi, other = picture(), picture(np.uint8, 3, seed=1), picture(np.uint8, 3, seed=2)
    model = Mean()
    found = fuse(model, {"infrared": ir, "camera": other, "visible": vi})
    assert np.array_equal(
        found, fuse(model, {"infrared": ir, "camera": other, "visible": vi}, colour="visible")
    )
    first = fuse(model, {"ir": ir, "b": other, "a": vi})
    assert np.array_equal(first, fuse(model, {"ir": ir, "b": other, "a": vi}, colour="b"))
    assert not np.array_equal(first, fuse(model, {"ir": ir, "b": other, "a": vi}, colour="a"))


def test_grey_stored_as_rgb_counts_as_grey_unless_named():
    ir, vi = picture(), picture(seed=1)
    rgb = np.repeat(vi[..., None], 3, axis=2)
    grey = fuse(Mean(), {"infrared": ir, "visible": vi})
    assert np.array_equal(fuse(Mean(), {"infrared": ir, "visible": rgb}), grey)
    named = fuse(Mean(), {"infrared": ir, "visible": rgb}, colour="visible")
    assert named.shape == rgb.shape
    assert np.array_equal(named, np.repeat(grey[..., None], 3, axis=2))


@pytest.mark.parametrize(
    ("first", "second", "colour", "dtype"),
    [
        ((np.uint16, 1), (np.uint8, 1), None, np.uint16),
        ((np.uint8, 1), (np.uint16, 1), None, np.uint8),
        ((np.uint16, 1), (np.uint8, 3), None, np.uint8),
        ((np.uint16, 1), (np.uint8, 3), "none", np.uint16),
        ((np.float32, 1), (np.uint8, 3), None, np.uint8),
        ((np.uint8, 1), (np.float32, 3), None, np.float32),
        ((np.uint8, 1), (np.uint16, 1), "visible", np.uint16),
    ],
)
def test_depths_may_differ_and_that_of_the_colour_or_first_source_is_kept(
    first, second, colour, dtype
):
    images = {"infrared": picture(*first), "visible": picture(*second, seed=1)}
    assert fuse(Mean(), images, colour=colour).dtype == dtype


def test_minmax_stretches_the_luminance_of_the_whole_image():
    ir, vi = picture() // 4 + 60, picture(seed=1) // 4 + 60
    plain = fuse(Mean(), {"infrared": ir.astype(np.float64) / 255, "visible": vi / 255.0})
    stretched = fuse(Mean(), {"infrared": ir, "visible": vi}, stretch="minmax")
    assert (stretched.min(), stretched.max()) == (0, 255)
    expected = (plain - plain.min()) / (plain.max() - plain.min()) * 255
    assert np.abs(stretched - expected).max() <= 0.51
    flat = np.full((20, 20), 7, np.uint8)
    assert not fuse(Mean(), {"a": flat, "b": flat}, stretch="minmax").any()


def test_three_sources_and_arrays_that_are_views_or_read_only():
    base = picture(np.uint8, 3, (80, 90))
    base.flags.writeable = False
    views = {"a": base[::2, ::2, 0], "b": base[1::2, 1::2, 1], "c": base[::-2, ::-2, 2]}
    exact = np.mean([view.astype(float) for view in views.values()], axis=0)
    assert np.abs(fuse(Mean(), views) - exact).max() <= 0.5 + 1e-4


SMALL = picture(size=(15, 20))
NAN = picture(np.float32)
NAN[3, 3] = np.nan


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        ({"infrared": picture()}, {}, "expected two or more sources, found infrared"),
        ({}, {}, "expected two or more sources, found none"),
        (
            {"infrared": picture(), "visible": picture(size=(40, 54))},
            {},
            r"unequal size \(height x width\): image \(infrared 40x53, visible 40x54\); register",
        ),
        ({"a": picture(), "b": picture(channels=4)}, {}, r"b: expected .* \(h, w, 3\), found \(40"),
        ({"a": picture(), "b": picture()[0]}, {}, r"b: expected an image of shape .*found \(53,\)"),
        ({"a": SMALL, "b": SMALL}, {}, "a: expected at least 16x16 pixels, found 15x20"),
        (
            {"a": picture(), "b": picture().astype(int)},
            {},
            "b: expected an image of uint8, .*int64",
        ),
        ({"a": picture(), "b": torch.zeros(40, 53)}, {}, "b: expected a path, .*found Tensor"),
        ({"a": picture(), "b": NAN}, {}, "b: .* NaN or infinite"),
        (
            {"a": picture(), "b": picture() * 1.0},
            {},
            r"b: expected float pixels in \[0, 1\], found",
        ),
        (
            {"infrared": picture(), "visible": picture()},
            {"colour": "visble"},
            "colour: expected one of none, infrared, visible, .* did you mean 'visible'",
        ),
        ({"a": picture(), "b": picture()}, {"stretch": "max"}, "stretch: expected none or minmax"),
    ],
)
def test_what_cannot_be_fused_is_explained(images, options, message):
    with pytest.raises(FusionkitError, match=message):
        fuse(Mean(), images, **options)


def test_windows_scale_each_source_and_the_result_keeps_its_type():
    counts = np.linspace(7000, 8999, 40 * 53).reshape(40, 53).astype(np.uint16)
    vi = picture(np.uint16, seed=1)
    fused = fuse(Mean(), {"infrared": counts, "visible": vi}, windows={"infrared": (7500, 8500)})
    scaled = np.clip((counts - 7500.0) / 1000, 0, 1) * 65535
    assert fused.dtype == np.uint16
    assert np.abs(fused - (scaled + vi) / 2).max() <= 1
    kelvin = counts.astype(np.float64) / 25
    images = {"infrared": kelvin, "visible": vi}
    result = fuse(Mean(), images, windows={"infrared": (300, 340)})
    assert result.dtype == np.float64
    assert np.abs(result * 65535 - fused).max() <= 1
    with pytest.raises(FusionkitError, match=r"infrared: expected float pixels in \[0, 1\], found"):
        fuse(Mean(), images)


@pytest.mark.parametrize(
    ("windows", "message"),
    [
        (
            {"infrard": (0, 1)},
            "windows: expected one of .* did you mean 'infrared'",
        ),
        ({"infrared": (5, 5)}, "expected a low value below the high one, found 5 and 5"),
    ],
)
def test_windows_that_make_no_sense_are_refused(windows, message):
    with pytest.raises(FusionkitError, match=message):
        fuse(Mean(), {"infrared": picture(), "visible": picture()}, windows=windows)


def test_sources_of_one_field_of_view_are_resampled_if_that_is_asked_for():
    vi = cv2.GaussianBlur(picture(np.uint8, 3, (96, 128)), (0, 0), 4)
    ir = cv2.GaussianBlur(picture(size=(96, 128)), (0, 0), 4)
    small = cv2.resize(ir, (64, 48), interpolation=cv2.INTER_AREA)
    with pytest.raises(FusionkitError, match="or pass resample=True"):
        fuse(Mean(), {"infrared": small, "visible": vi})
    fused = fuse(Mean(), {"infrared": small, "visible": vi}, resample=True)
    assert fused.shape == vi.shape
    whole = fuse(Mean(), {"infrared": ir, "visible": vi})
    assert np.abs(fused.astype(int) - whole)[4:-4, 4:-4].max() <= 3
    # The size is that of the colour source, even of a smaller one; without colour the largest.
    half = vi[::2, ::2].copy()
    assert fuse(Mean(), {"infrared": ir, "visible": half}, resample=True).shape == half.shape
    for images in ({"a": small, "b": ir}, {"a": ir, "b": small}):
        assert fuse(Mean(), images, resample=True).shape == ir.shape
    message = r"unequal aspect ratio .*infrared 48x64, visible 96x100.* crop them alike"
    with pytest.raises(FusionkitError, match=message):
        fuse(Mean(), {"infrared": small, "visible": vi[:, :100].copy()}, resample=True)


def test_alignment_undoes_a_shift_and_keeps_the_size(scene):
    model = Mean()
    straight = fuse(model, scene).astype(int)
    moved = np.roll(scene["infrared"], (5, -7), (0, 1))
    shifted = {"visible": scene["visible"], "infrared": moved}
    inner = (slice(16, -16), slice(16, -16))
    crooked = np.abs(fuse(model, shifted) - straight)[inner].mean()
    aligned = fuse(model, shifted, align=True)
    assert aligned.shape == straight.shape
    assert np.abs(aligned - straight)[inner].mean() < 0.2 * crooked
    # What comes in at the border repeats it: no black edge.
    assert np.abs(aligned - straight)[:, -7:].mean() < 40


def test_alignment_moves_onto_the_colour_source_else_onto_the_first(scene):
    moved = np.roll(scene["infrared"], (0, 6), (0, 1))
    inner = (slice(16, -16), slice(16, -16))
    plain = fuse(Mean(), scene).astype(int)
    first = fuse(Mean(), {"infrared": moved, "visible": scene["visible"]}, align=True)
    assert np.abs(np.roll(first, (0, -6), (0, 1)) - plain)[inner].mean() < 3
    rgb = np.repeat(scene["visible"][..., None], 3, axis=2)
    colour = fuse(Mean(), {"infrared": moved, "visible": rgb}, align=True, colour="visible")
    assert np.abs(colour[..., 0] - plain)[inner].mean() < 3


def test_a_registered_pair_and_an_untrusted_one_are_left_bit_by_bit(scene):
    assert np.array_equal(fuse(Mean(), scene, align=True), fuse(Mean(), scene))
    noise = {"infrared": picture(size=(90, 90)), "visible": picture(size=(90, 90), seed=1)}
    assert np.array_equal(fuse(Mean(), noise, align=True), fuse(Mean(), noise))


def test_files_and_pillow_images_fuse_as_their_pixels_do(tmp_path: Path):
    ir, vi = picture(), picture(np.uint8, 3, seed=1)
    expected = fuse(Mean(), {"infrared": ir, "visible": vi})
    write_image(tmp_path / "ir.png", ir)
    mixed = {"infrared": str(tmp_path / "ir.png"), "visible": Image.fromarray(vi)}
    assert np.array_equal(fuse(Mean(), mixed), expected)
    (tmp_path / "ir.gif").touch()
    with pytest.raises(FusionkitError, match=r"ir\.gif: expected one of the formats"):
        fuse(Mean(), {"infrared": tmp_path / "ir.gif", "visible": vi})
    with pytest.raises(FusionkitError, match="expected an image, found the folder"):
        fuse(Mean(), {"infrared": tmp_path, "visible": vi})


def test_files_get_the_windows_of_the_command_line_and_arrays_the_range_of_their_type(
    tmp_path: Path,
):
    counts = np.linspace(7000, 8999, 40 * 53).reshape(40, 53).astype(np.uint16)
    vi = picture(np.uint16, seed=1)
    write_image(tmp_path / "ir.png", counts)
    found = fuse(Mean(), {"infrared": tmp_path / "ir.png", "visible": vi})
    asked = {"infrared": "0.5%:99.5%"}
    assert np.array_equal(found, fuse(Mean(), {"infrared": counts, "visible": vi}, windows=asked))
    assert not np.array_equal(found, fuse(Mean(), {"infrared": counts, "visible": vi}))


def test_models_are_named_and_take_the_names_that_their_cards_accept():
    ir, vi = picture(), picture(np.uint8, 3, seed=1)
    network = fk.load("emma-ir-vis")
    expected = fuse(network, {"infrared": ir, "visible": vi}, colour="visible")
    assert np.array_equal(fuse("emma-ir-vis", {"ir": ir, "vi": vi}, colour="vi"), expected)
    windows = {"ir": (0, 128)}
    expected = fuse(network, {"infrared": ir, "visible": vi}, windows={"infrared": (0, 128)})
    assert np.array_equal(fuse(network, {"ir": ir, "vi": vi}, windows=windows), expected)
    with pytest.raises(FusionkitError, match="missing: visible"):
        fuse(network, {"infrared": ir, "x": vi})


def test_a_backbone_that_gives_nan_is_named():
    with pytest.raises(FusionkitError, match="backbone 'broken', found NaN or infinite"):
        fuse(Broken(), {"a": picture(), "b": picture()})
