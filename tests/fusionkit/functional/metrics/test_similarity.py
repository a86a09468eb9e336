"""Qy against a plain reading of its definition."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import scipy.signal
import torch

from fusionkit.functional import metrics


@pytest.fixture
def images() -> list[torch.Tensor]:
    """Return a fused image before two sources that are alike in places."""
    noise = torch.rand(3, 1, 40, 53, generator=torch.Generator().manual_seed(3))
    a, b, c = (torch.nn.functional.avg_pool2d(noise, 3, 1, 1)[:, None] * 255).round()
    b = torch.where(torch.arange(53) < 20, (0.8 * a + 0.1 * b).round(), b)
    return [(0.5 * a + 0.4 * b + 0.1 * c).round(), a, b]


def similarity(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    at = np.arange(7) - 3
    window = np.exp(-(at[:, None] ** 2 + at**2) / (2 * 1.5**2))
    mean = partial(scipy.signal.correlate2d, in2=window / window.sum(), mode="valid")
    m_a, m_b = mean(a), mean(b)
    v_a, v_b, v = mean(a * a) - m_a**2, mean(b * b) - m_b**2, mean(a * b) - m_a * m_b
    return 2 * m_a * m_b / (m_a**2 + m_b**2) * 2 * v / (v_a + v_b), v_a, v_b


def test_similarity_of_regions_is_the_definition(images):
    f, a, b = (x[0, 0].double().numpy() for x in images)
    alike, v_a, v_b = similarity(a, b)
    of_a, of_b = similarity(a, f)[0], similarity(b, f)[0]
    share = v_a / (v_a + v_b)
    both = alike >= 0.75
    assert 0.1 < both.mean() < 0.9
    expected = np.where(both, share * of_a + (1 - share) * of_b, np.maximum(of_a, of_b)).mean()
    found = metrics.similarity_of_regions(images[0], images[1:])
    assert float(found) == pytest.approx(expected, rel=1e-9)


def test_flat_images_have_the_documented_values(images):
    fused, a, _ = images
    black, grey = torch.zeros_like(fused), torch.full_like(fused, 128)
    for flat in (black, grey):
        assert metrics.similarity_of_regions(flat, [flat, flat]).item() == 1
        assert metrics.similarity_of_regions(flat, [fused, a]).item() == 0
    assert metrics.similarity_of_regions(grey, [grey / 2, grey / 2]).item() == pytest.approx(0.8)
