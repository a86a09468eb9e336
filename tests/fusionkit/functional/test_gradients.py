"""The Sobel operator, against kornia's."""

from __future__ import annotations

import pytest
import torch
from kornia.filters import spatial_gradient

from fusionkit.functional.gradients import sobel


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(2, 1, 32, 40), (1, 3, 7, 16), (1, 1, 1, 1)])
def test_sobel_has_the_bytes_of_kornia(shape, dtype):
    x = torch.rand(shape, dtype=dtype, generator=torch.Generator().manual_seed(0))
    assert torch.equal(sobel(x), spatial_gradient(x))
