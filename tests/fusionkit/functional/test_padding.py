"""Padding, against numpy's reflection, and its inverse."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fusionkit.functional.padding import crop, pad_to_multiple


@settings(deadline=None, max_examples=60)
@given(h=st.integers(1, 40), w=st.integers(1, 40), multiple=st.integers(1, 32))
def test_padding_is_numpys_reflection_and_crop_undoes_it(h, w, multiple):
    x = torch.arange(2 * h * w, dtype=torch.float32).reshape(1, 2, h, w)
    padded = pad_to_multiple(x, multiple)
    assert padded.shape[-2] % multiple == 0
    assert padded.shape[-1] % multiple == 0
    assert padded.shape[-2] - h < multiple
    assert padded.shape[-1] - w < multiple
    rows, columns = padded.shape[-2] - h, padded.shape[-1] - w
    around = ((0, 0), (0, 0), (rows // 2, -(-rows // 2)), (columns // 2, -(-columns // 2)))
    assert np.array_equal(padded.numpy(), np.pad(x.numpy(), around, mode="reflect"))
    assert torch.equal(crop(padded, (h, w)), x)


def test_a_size_that_fits_is_left_alone():
    x = torch.rand(2, 1, 32, 48)
    assert torch.equal(pad_to_multiple(x, 16), x)


def test_one_pixel_is_repeated():
    assert torch.equal(
        pad_to_multiple(torch.full((1, 1, 1, 1), 0.3), 16), torch.full((1, 1, 16, 16), 0.3)
    )


@pytest.mark.parametrize("size", [(17, 33), (3, 50)])
def test_gradients_pass(size):
    x = torch.rand(1, 1, *size, requires_grad=True)
    crop(pad_to_multiple(x, 16), size).sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, torch.ones_like(x))
