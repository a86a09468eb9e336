"""Min-max stretching against scikit-image's."""

from __future__ import annotations

import numpy as np
import torch
from skimage.exposure import rescale_intensity

from fusionkit.functional.stretching import stretched


def test_minmax_is_that_of_skimage():
    image = 0.2 + 0.5 * torch.rand(1, 9, 13, generator=torch.Generator().manual_seed(0))
    expected = rescale_intensity(image.numpy(), out_range=(0.0, 1.0))
    np.testing.assert_allclose(stretched(image, "minmax").numpy(), expected, atol=1e-6)


def test_none_changes_nothing_and_one_value_becomes_black():
    image = torch.full((1, 4, 4), 0.3)
    assert stretched(image, "none") is image
    assert stretched(image, "minmax").eq(0).all()
