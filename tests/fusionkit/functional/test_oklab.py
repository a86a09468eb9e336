"""OKLab, against the values that its author published and against colour-science."""

from __future__ import annotations

import colour
import numpy as np
import pytest
import torch

from fusionkit.functional.oklab import linear_to_srgb, oklab_to_rgb, rgb_to_oklab, srgb_to_linear

PUBLISHED = [
    ((0.950, 1.000, 1.089), (1.000, 0.000, 0.000)),
    ((1.000, 0.000, 0.000), (0.450, 1.236, -0.019)),
    ((0.000, 1.000, 0.000), (0.922, -0.671, 0.263)),
    ((0.000, 0.000, 1.000), (0.153, -1.415, -0.449)),
]
"""XYZ -> Lab in the table of https://bottosson.github.io/posts/oklab/."""

RGB_OF_XYZ = np.linalg.inv(colour.RGB_COLOURSPACES["sRGB"].matrix_RGB_to_XYZ)


@pytest.fixture(scope="module")
def colours():
    return np.random.default_rng(3).uniform(size=(500, 3))


@pytest.mark.parametrize(("xyz", "lab"), PUBLISHED)
def test_the_published_table(xyz, lab):
    # XYZ of the table is outside sRGB in three rows, so the table is checked backwards.
    rgb = oklab_to_rgb(torch.tensor(lab, dtype=torch.float64).view(3, 1))
    np.testing.assert_allclose(rgb[:, 0].numpy(), RGB_OF_XYZ @ np.array(xyz), atol=0.006)


def test_light_is_colour_sciences(colours):
    expected = colour.cctf_decoding(colours, "sRGB")
    light = srgb_to_linear(torch.from_numpy(colours))
    np.testing.assert_allclose(light.numpy(), expected, atol=1e-7)
    np.testing.assert_allclose(linear_to_srgb(light).numpy(), colours, atol=1e-7)


def test_lab_is_colour_sciences(colours):
    xyz = colour.RGB_to_XYZ(colours, "sRGB", apply_cctf_decoding=False)
    lab = rgb_to_oklab(torch.from_numpy(colours.T.copy()))
    np.testing.assert_allclose(lab.numpy().T, colour.XYZ_to_Oklab(xyz), atol=3e-4)


def test_black_and_white():
    ends = torch.tensor([[0.0, 1.0]]).expand(3, 2).contiguous()
    lab = rgb_to_oklab(ends)
    torch.testing.assert_close(lab[0], torch.tensor([0.0, 1.0]), atol=1e-6, rtol=0)
    torch.testing.assert_close(lab[1:], torch.zeros(2, 2), atol=1e-6, rtol=0)
    torch.testing.assert_close(oklab_to_rgb(lab), ends, atol=1e-5, rtol=0)
