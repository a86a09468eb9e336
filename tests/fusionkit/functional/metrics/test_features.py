"""FMI against a plain reading of Fast-FMI, with the transforms of scipy and PyWavelets."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import pywt
import scipy.fft
import scipy.integrate
import torch

from fusionkit.functional import metrics
from fusionkit.functional.metrics.features import _cosines, _meyer_filter, _wavelet

# What cslib (CharlesShan-hub, src/cslib/metrics/collection/fmi.py) gives in float64 for rows 60 to
# 187 and columns 100 to 259 of published results on TNO: pixel, dct.
CSLIB = {
    ("SeAFusion", "08"): (0.5696266326102957, 0.3401119078813524),
    ("DenseFuse", "22"): (0.4121134549109308, 0.41300334844661774),
    ("U2Fusion", "36"): (0.3650535861946969, 0.3428997752485708),
}


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


def meyer() -> pywt.Wavelet:
    """Return MATLAB's ``dmey``: the Fourier integral of Meyer's response, 50 taps on each side."""

    def response(w: float) -> float:
        v = min(1.0, max(0.0, 3 * w / np.pi - 1))
        return np.cos(np.pi / 2 * v**4 * (35 - 84 * v + 70 * v**2 - 20 * v**3))

    half = [
        2**0.5
        / np.pi
        * scipy.integrate.quad(response, 0, 2 * np.pi / 3, weight="cos", wvar=k, epsabs=1e-13)[0]
        for k in range(51)
    ]
    low = np.array([0, *half[:0:-1], *half])
    high = low[::-1] * np.where(np.arange(102) % 2, 1, -1)
    return pywt.Wavelet("meyer", filter_bank=[low, high, low[::-1], high[::-1]])


def test_the_wavelet_is_the_one_of_matlab():
    # From MATLAB's dmey.mat, times the square root of 2; PyWavelets has a shorter approximation.
    found = _meyer_filter(torch.zeros((), dtype=torch.float64)).numpy()
    assert found[:3] == pytest.approx([0.7437504, 0.44409467, -0.03504826], abs=1e-8)
    shorter = np.array(pywt.Wavelet("dmey").dec_lo)[31:]
    assert found[:31] == pytest.approx(shorter, abs=1e-3)


def transformed(x: torch.Tensor, feature: str) -> np.ndarray:
    y = x[0, 0].double().numpy()
    if feature == "dct":
        return scipy.fft.dctn(y, norm="ortho")
    if feature == "wavelet":
        low, (across, down, both) = pywt.dwt2(y, meyer(), mode="symmetric")
        y = np.block([[low, across], [down, both]])
        return (y - y.min()) / np.ptp(y)
    return y


def test_feature_information_is_the_definition(images):
    f, *sources = (transformed(x, "pixel") for x in images)
    found = metrics.feature_information(images[0], images[1:])
    assert float(found) == pytest.approx(naive(f, sources), rel=1e-6)


@pytest.mark.parametrize(("method", "image"), CSLIB)
def test_feature_information_is_that_of_cslib(data_root: Path, method, image):
    files = (
        data_root / "reference" / "tno_fused" / method / f"{image}.png",
        *(data_root / "tno" / modality / f"{image}.png" for modality in ("ir", "vi")),
    )
    read = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in files]
    fused, *sources = (
        torch.from_numpy(x[60:188, 100:260]).float()[None, None] for x in read if x is not None
    )
    for feature, expected in zip(("pixel", "dct"), CSLIB[method, image], strict=True):
        found = metrics.feature_information(fused, sources, feature=feature)  # type: ignore[arg-type]
        assert float(found) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("feature", ["dct", "wavelet"])
def test_features_are_scored_as_pixels_are(images, feature):
    f, *sources = (torch.from_numpy(transformed(x, feature))[None, None] for x in images)
    found = metrics.feature_information(images[0], images[1:], feature=feature)
    assert float(found) == pytest.approx(float(metrics.feature_information(f, sources)), rel=1e-6)


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
