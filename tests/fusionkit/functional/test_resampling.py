"""Sizes of one field of view, and what bicubic resampling must keep."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fusionkit.functional.resampling import resample, same_field


@given(h=st.integers(64, 800), w=st.integers(64, 800), part=st.floats(0.25, 1))
def test_a_scaled_and_rounded_size_is_of_the_same_field(h, w, part):
    small = (max(16, round(h * part)), max(16, round(w * part)))
    assert same_field((h, w), small)
    assert same_field(small, (h, w))


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ((240, 320), (480, 640), True),
        ((120, 160), (1080, 1440), True),
        ((512, 640), (480, 640), False),
        ((256, 320), (480, 640), False),
        ((480, 640), (640, 480), False),
        ((240, 320), (720, 1280), False),
        ((240, 320), (240, 324), True),
        ((480, 640), (480, 652), False),
        ((1000, 1000), (1000, 1013), False),
    ],
)
def test_aspect_ratios(first, second, same):
    assert same_field(first, second) is same


def test_a_ramp_stays_where_it_is():
    x = torch.linspace(0, 1, 65)[:-1] + 1 / 128  # value (i + 1/2) / 64 at pixel i
    ramp = x.expand(1, 48, 64)
    for size in ((96, 128), (24, 32)):
        found = resample(ramp, size)
        expected = (torch.arange(size[1]) + 0.5) / size[1]
        inner = slice(6, -6)
        assert found.shape == (1, *size)
        assert torch.allclose(found[0, 5, inner], expected[inner], atol=1e-5)


def test_shrinking_averages_and_overshoot_is_clamped():
    stripes = (torch.arange(64) % 2).float().expand(1, 64, 64)
    assert (resample(stripes, (16, 16)) - 0.5).abs().max() < 0.1  # point sampling gives 0 or 1
    step = (torch.arange(32) >= 16).float().expand(1, 32, 32)
    large = resample(step, (96, 96))
    assert large.min() == 0
    assert large.max() == 1
