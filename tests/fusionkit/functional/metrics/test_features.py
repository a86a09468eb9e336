"""FMI against a plain reading of Fast-FMI, with the transforms of scipy and PyWavelets."""

from __future__ import annotations

import numpy as np
import pytest
import pywt
import scipy.fft
import torch

from fusionkit.functional import metrics
from fusionkit.functional.metrics.features import _cosines, _wavelet


@pytest.fixture
def images() -> list[torch.Tensor]:
    """Return a fused image before two sources: noise, a flat corner, a copied corner."""
    noise = torch.rand(3, 1, 1, 17, 22, generator=torch.Generator().manual_seed(4))
    a, b, f = (noise * 255).round()
    f[..., :5, :5] = 90
    f[..., 10:, 10:] = b[..., 10:, 10:]
    a[..., :4, :5] = 30
    return [f, a, b]


def entropy(p: np.ndarray) -> float:
    p = p[p != 0]
    return -(p * np.log2(np.abs(p))).sum()


def window_information(a: np.ndarray, f: np.ndarray) -> float:
    """Return the score of one window, as Haghighat and Razian describe it."""
    if (a == f).all():
        return 1.0
    if np.ptp(a) == 0 or np.ptp(f) == 0:
        return 0.0  # no correlation
    pdfs = []
    for x in (a, f):
        scaled = (x - x.min()) / np.ptp(x)
        pdfs.append(scaled.ravel(order="F") / scaled.sum())
    p_a, p_f = pdfs
    at = np.arange(1, 10)
    s_a, s_f = (np.sqrt(max(0, (p * at**2).sum() - (p * at).sum() ** 2)) for p in pdfs)
    c = np.corrcoef(p_a, p_f)[0, 1]
    x, y = np.cumsum(p_f), np.cumsum(p_a)
    corners = np.minimum.outer(x, y) if c >= 0 else np.maximum(np.add.outer(x, y) - 1, 0)
    upper = np.pad(corners, ((1, 0), (1, 0)))
    product = np.outer(x, y)
    share = 0.0
    if s_a > 1e-9 and s_f > 1e-9:
        share = c / ((upper[1:, 1:] - product).sum() / (s_a * s_f))
    bound = upper[1:, 1:] - upper[:-1, 1:] - upper[1:, :-1] + upper[:-1, :-1]
    joint = share * bound + (1 - share) * np.outer(p_f, p_a)
    total = entropy(p_a) + entropy(p_f)
    return 0.0 if total == 0 else 2 * (total - entropy(joint)) / total


def naive(f: np.ndarray, sources: list[np.ndarray]) -> float:
    values = [
        window_information(s[i : i + 3, j : j + 3], f[i : i + 3, j : j + 3])
        for s in sources
        for i in range(f.shape[0] - 2)
        for j in range(f.shape[1] - 2)
    ]
    return float(np.mean(values))


def transformed(x: torch.Tensor, feature: str) -> np.ndarray:
    y = x[0, 0].double().numpy()
    if feature == "dct":
        return scipy.fft.dctn(y, norm="ortho")
    if feature == "wavelet":
        low, (across, down, both) = pywt.dwt2(y, "dmey", mode="symmetric")
        y = np.block([[low, across], [down, both]])
        return (y - y.min()) / np.ptp(y)
    return y


@pytest.mark.parametrize("feature", ["pixel", "dct", "wavelet"])
def test_feature_information_is_the_definition(images, feature):
    f, *sources = (transformed(x, feature) for x in images)
    found = metrics.feature_information(images[0], images[1:], feature=feature)
    assert float(found) == pytest.approx(naive(f, sources), rel=1e-6)


def test_the_transforms_are_those_of_scipy_and_pywavelets(images):
    x = images[0][:, 0].double()
    assert _cosines(x)[0].numpy() == pytest.approx(transformed(images[0], "dct"), abs=1e-8)
    assert _wavelet(x)[0].numpy() == pytest.approx(transformed(images[0], "wavelet"), abs=1e-11)


@pytest.mark.parametrize("feature", ["pixel", "dct", "wavelet"])
def test_flat_images_have_the_documented_values(images, feature):
    fused, a, _ = images
    for level in (0.0, 128.0):
        flat = torch.full_like(fused, level)
        same = metrics.feature_information(flat, [flat, flat], feature=feature)
        assert same.item() == pytest.approx(1)
        other = metrics.feature_information(flat, [fused, a], feature=feature).item()
        assert 0 <= other < 0.2
    assert metrics.feature_information(fused, [fused, fused], feature=feature).item() == 1
