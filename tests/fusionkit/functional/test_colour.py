"""Colour conversions, against OpenCV, kornia and scikit-image."""

from __future__ import annotations

import colorsys

import cv2
import kornia
import numpy as np
import pytest
import torch
from skimage.color import rgb2ycbcr

from fusionkit.functional.colour import grey_u8, join_chroma, luminance, split_chroma


@pytest.fixture(scope="module")
def cube():
    """RGB in [0, 1], every 17th level of each channel, (3, 256, 16): corners and greys included."""
    levels = np.arange(0, 256, 17, dtype=np.uint8)
    r, g, b = np.meshgrid(levels, levels, levels, indexing="ij")
    return torch.from_numpy(np.stack([r, g, b]).reshape(3, 256, 16)).float() / 255


def test_grey_is_opencvs_for_every_colour_of_a_fine_grid():
    levels = np.unique(np.r_[np.arange(0, 256, 3), 255]).astype(np.uint8)
    rgb = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1)
    rgb = rgb.reshape(len(levels), -1, 3)
    assert np.array_equal(grey_u8(rgb), cv2.cvtColor(rgb[..., ::-1].copy(), cv2.COLOR_BGR2GRAY))


def test_split_is_kornias(cube):
    luma, chroma = split_chroma(cube)
    expected = kornia.color.rgb_to_ycbcr(cube)
    torch.testing.assert_close(luma, expected[0:1], atol=1e-6, rtol=0)
    # kornia rounds the factors to 0.564 and 0.713
    torch.testing.assert_close(chroma, expected[1:], atol=5e-4, rtol=0)


def test_split_is_scikit_images_up_to_its_narrower_range(cube):
    luma, chroma = split_chroma(cube)
    narrow = rgb2ycbcr(cube.movedim(0, -1).numpy())
    np.testing.assert_allclose(luma[0].numpy(), (narrow[..., 0] - 16) / 219, atol=1e-4)
    full = (narrow[..., 1:] - 128) / 224 + 0.5
    np.testing.assert_allclose(chroma.movedim(0, -1).numpy(), full, atol=1e-4)


def test_luminance_takes_any_number_of_leading_axes(cube):
    assert luminance(cube).shape == (1, 256, 16)
    assert luminance(cube[None, None]).shape == (1, 1, 1, 256, 16)
    assert torch.equal(luminance(cube), split_chroma(cube)[0])


def test_round_trip_is_exact_in_8_and_16_bits(cube):
    back = join_chroma(*split_chroma(cube))
    assert (back - cube).abs().max() < 1e-6
    assert torch.equal((back * 255).round(), (cube * 255).round())
    random = torch.randint(0, 65536, (3, 64, 64), generator=torch.Generator().manual_seed(0))
    back = join_chroma(*split_chroma(random / 65535))
    assert torch.equal((back * 65535).round().long(), random)


def test_grey_has_neutral_chroma():
    grey = torch.arange(65536).reshape(1, 1, 256, 256) / 65535
    luma, chroma = split_chroma(grey.expand(1, 3, 256, 256))
    assert torch.equal(luma, grey)
    assert torch.equal(chroma, torch.full_like(chroma, 0.5))
    assert torch.equal(join_chroma(luma, chroma), grey.expand(1, 3, 256, 256))


def test_a_brighter_luminance_keeps_hue_and_luminance(cube):
    _, chroma = split_chroma(cube)
    for level in (0.05, 0.5, 0.8, 0.97):
        luma = torch.full((1, 256, 16), level)
        rgb = join_chroma(luma, chroma)
        assert rgb.min() >= 0
        assert rgb.max() <= 1
        torch.testing.assert_close(luminance(rgb), luma, atol=1e-5, rtol=0)
        for before, after in zip(
            cube.flatten(1).T[::37].tolist(), rgb.flatten(1).T[::37].tolist(), strict=True
        ):
            if max(before) - min(before) > 0.05 and max(after) - min(after) > 0.01:
                turn = colorsys.rgb_to_hsv(*before)[0] - colorsys.rgb_to_hsv(*after)[0]
                assert abs((turn + 0.5) % 1 - 0.5) < 1e-3


@pytest.mark.parametrize(("level", "expected"), [(0.0, 0.0), (1.0, 1.0), (1.5, 1.0), (-1.0, 0.0)])
def test_black_and_white_have_no_room_for_colour(level, expected, cube):
    rgb = join_chroma(torch.full((1, 256, 16), level), split_chroma(cube)[1])
    torch.testing.assert_close(rgb, torch.full_like(rgb, expected), atol=1e-6, rtol=0)


def test_grey_of_matlab_rounds_its_own_weights():
    rgb = np.random.default_rng(4).integers(0, 256, (9, 7, 3)).astype(np.uint8)
    expected = np.floor(rgb @ np.array([0.2989, 0.5870, 0.1140]) + 0.5)
    assert np.array_equal(grey_u8(rgb, "matlab"), expected)
    assert (grey_u8(rgb, "matlab") != grey_u8(rgb)).mean() < 0.1
