"""Rules that put colour back, judged in spaces and with formulas of colour-science and kornia."""

from __future__ import annotations

import colour
import kornia
import numpy as np
import pytest
import torch

from fusionkit.functional.colour import join_chroma, luminance, split_chroma
from fusionkit.functional.colour_rules import COLOUR_RULES, restore_colour

BRIGHTER = (1.2, 2.0, 4.0)
DEVICES = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)


@pytest.fixture(scope="module")
def cube():
    """RGB in [0, 1], every 15th level of each channel, (3, 324, 18): corners and greys included."""
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    r, g, b = np.meshgrid(levels, levels, levels, indexing="ij")
    return torch.from_numpy(np.stack([r, g, b]).reshape(3, 324, 18)).float() / 255


def split(rgb):
    """Return luminance, and Cb and Cr."""
    luma, chroma = split_chroma(rgb)
    assert chroma is not None
    return luma, chroma


def restored(rgb, factor, rule):
    """Return the colours under a luminance that is this many times their own."""
    luma, chroma = split(rgb)
    target = (luma * factor).clamp(0, 1)
    return restore_colour(target, chroma, luma, rule), target


def hue_angles(before, after):
    """Return the angle in degrees between two images in OKLab, by colour-science, and chroma."""
    lab = [
        colour.XYZ_to_Oklab(colour.sRGB_to_XYZ(image.flatten(1).T.double().numpy()))
        for image in (before, after)
    ]
    first, second = (x[:, 1] + 1j * x[:, 2] for x in lab)
    return np.degrees(np.abs(np.angle(first * second.conj()))), np.minimum(abs(first), abs(second))


def size_of(chroma):
    """Return the distance of Cb and Cr from grey."""
    return (chroma - 0.5).square().sum(0).sqrt()


@pytest.mark.parametrize("rule", COLOUR_RULES)
def test_equal_luminance_gives_the_source(rule, cube):
    for rgb in (cube, torch.rand(3, 50, 60, generator=torch.Generator().manual_seed(2))):
        assert (restored(rgb, 1.0, rule)[0] - rgb).abs().max() < 1e-5


@pytest.mark.parametrize("rule", COLOUR_RULES)
def test_no_step_where_luminance_becomes_equal(rule, cube):
    assert (restored(cube, 1 + 1e-5, rule)[0] - cube).abs().max() < 0.5 / 255


@pytest.mark.parametrize("rule", COLOUR_RULES)
@pytest.mark.parametrize("factor", [0.0, 0.3, *BRIGHTER, 50.0])
def test_luminance_is_kept_within_gamut(rule, factor, cube):
    rgb, target = restored(cube, factor, rule)
    assert rgb.min() >= 0
    assert rgb.max() <= 1
    assert torch.isfinite(rgb).all()
    torch.testing.assert_close(
        kornia.color.rgb_to_ycbcr(rgb)[0:1], target.clamp(0, 1), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("rule", COLOUR_RULES)
def test_grey_stays_grey(rule):
    grey = torch.rand(1, 8, 9, generator=torch.Generator().manual_seed(1)).expand(3, 8, 9)
    rgb, target = restored(grey, 1.7, rule)
    torch.testing.assert_close(rgb, target.expand(3, 8, 9), atol=1e-6, rtol=0)


def test_ycbcr_is_join_chroma(cube):
    rgb, target = restored(cube, 1.5, "ycbcr")
    assert torch.equal(rgb, join_chroma(target, split(cube)[1]))


@pytest.mark.parametrize("rule", ["scaled", "oklab"])
def test_darker_pixels_are_darker_exposures(rule, cube):
    torch.testing.assert_close(restored(cube, 0.4, rule)[0], 0.4 * cube, atol=1e-5, rtol=0)


@pytest.mark.parametrize("factor", BRIGHTER)
def test_oklab_keeps_hue(factor, cube):
    bright = cube * (luminance(cube) > 0.05)
    turns, chroma = hue_angles(bright, restored(bright, factor, "oklab")[0])
    seen = chroma > 0.03
    assert np.median(turns[seen]) < 1
    assert np.percentile(turns[seen], 99) < 8
    turns_of_ycbcr, chroma = hue_angles(bright, restored(bright, factor, "ycbcr")[0])
    assert turns[seen].mean() < 0.3 * turns_of_ycbcr[chroma > 0.03].mean()


def test_dark_blue_under_bright_grey_is_no_lavender():
    # The paler form of sRGB blue, as people see it, has more green than red; lavender has not.
    blue = torch.tensor([0.0, 0.0, 0.6]).view(3, 1, 1)
    red, green, _ = restored(blue, 10.0, "oklab")[0].flatten().tolist()
    assert green > red + 0.04
    red, green, _ = restored(blue, 10.0, "ycbcr")[0].flatten().tolist()
    assert abs(green - red) < 1e-6


def test_a_brightened_red_is_more_saturated_than_by_ycbcr():
    dull = torch.tensor([0.35, 0.08, 0.08]).view(3, 1, 1)
    saturation = {
        rule: kornia.color.rgb_to_hsv(restored(dull, 2.5, rule)[0])[1].item()
        for rule in COLOUR_RULES
    }
    before = kornia.color.rgb_to_hsv(dull)[1].item()
    assert saturation["ycbcr"] < 0.65 * before
    assert min(saturation["oklab"], saturation["scaled"]) > 1.15 * saturation["ycbcr"]


# Black trousers with a tint of the camera, a blue shadow, a face at night, noise of a black pixel.
FAINT = [(10, 17, 39), (6, 10, 22), (30, 14, 8), (3, 0, 17), (3, 0, 5)]


@pytest.mark.parametrize("rule", ["scaled", "oklab"])
@pytest.mark.parametrize("target", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("pixel", FAINT)
def test_faint_colour_of_dark_pixels_does_not_become_neon(pixel, target, rule):
    rgb = torch.tensor(pixel).view(3, 1, 1) / 255
    luma, chroma = split(rgb)
    result = restore_colour(torch.full_like(luma, target), chroma, luma, rule)
    before, after = (
        np.hypot(*colour.XYZ_to_Lab(colour.sRGB_to_XYZ(x.flatten().double().numpy()))[1:])
        for x in (rgb, result)
    )
    # Chroma of CIELAB; 10 is about the difference between grey and a colour that catches the eye.
    assert after < before + 10


@pytest.mark.parametrize("rule", ["scaled", "oklab"])
def test_gain_of_chroma_is_bounded(rule, cube):
    luma, chroma = split(cube)
    for target in (0.05, 0.2, 0.5, 0.8, 1.0):
        fused = torch.full_like(luma, target)
        result = split(restore_colour(fused, chroma, luma, rule))[1]
        size, bound = (size_of(x) for x in (result, chroma))
        # OKLab keeps the hue of eyes, not of Cb and Cr, which stretches some colours a little.
        slack = 1e-5 if rule == "scaled" else 0.02 + 0.25 * bound
        assert (size <= bound * (1 + 2.5 * (target - luma[0]).clamp_min(0)) + slack).all()


@pytest.mark.parametrize("rule", ["scaled", "oklab"])
def test_bright_colours_keep_their_saturation(rule):
    # A mid grey tinted in any direction, brightened by a half: the ratio of chroma and luminance.
    angle = torch.linspace(0, 2 * np.pi, 25)[:-1]
    tint = 0.5 + 0.04 * torch.stack((angle.cos(), angle.sin()))[..., None]
    luma = torch.full((1, 24, 1), 0.5)
    chroma = split(restore_colour(1.5 * luma, tint, luma, rule))[1]
    assert (size_of(chroma) > 1.4 * 0.04).all()


@pytest.mark.parametrize("rule", COLOUR_RULES)
def test_strips_and_batches_give_the_same_pixels(rule):
    rgb = torch.rand(2, 3, 40, 30, generator=torch.Generator().manual_seed(5))
    luma, chroma = split(rgb)
    target = luma.flip(-1)
    whole = restore_colour(target, chroma, luma, rule)
    for image in range(2):
        for rows in (slice(0, 7), slice(7, 40)):
            strip = restore_colour(
                target[image, :, rows], chroma[image, :, rows], luma[image, :, rows], rule
            )
            torch.testing.assert_close(strip, whole[image, :, rows], atol=1e-6, rtol=0)


@pytest.mark.parametrize("rule", COLOUR_RULES)
@pytest.mark.parametrize("device", DEVICES)
def test_every_device_and_precision_gives_the_same_colours(rule, device, cube):
    luma, chroma = split(cube)
    fine = restore_colour(luma.double().sqrt(), chroma.double(), luma.double(), rule)
    found = restore_colour(luma.sqrt().to(device), chroma.to(device), luma.to(device), rule)
    assert found.device.type == device
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.cpu(), fine.float(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("rule", COLOUR_RULES)
def test_gradients_reach_the_fused_luminance(rule):
    rgb = torch.rand(2, 3, 20, 30, generator=torch.Generator().manual_seed(6))
    luma, chroma = split(rgb)
    fused = (0.1 + 0.8 * luma.flip(-1)).requires_grad_()
    restore_colour(fused, chroma, luma, rule)[:, 1].sum().backward()
    assert fused.grad is not None
    assert torch.isfinite(fused.grad).all()
    assert (fused.grad != 0).float().mean() > 0.9
