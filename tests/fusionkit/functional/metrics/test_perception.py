"""Qcb and Qcv against plain readings of their definitions, and published code."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
import torch

from fusionkit.functional import metrics

# What IVIF_ZOO's own Metric_torch.py prints for published results on TNO (Metric/ of commit
# 2fc8473, images read by cv2.imread(path, 0)).
ZOO = {
    ("SeAFusion", "08"): 0.6803229890545841,
    ("DenseFuse", "22"): 0.3894504948981023,
    ("U2Fusion", "36"): 0.5607797625156667,
}


@pytest.fixture(params=[(40, 53), (33, 48)])
def images(request) -> list[torch.Tensor]:
    """Return a fused image before two sources, with even and odd sides."""
    noise = torch.rand(3, 1, *request.param, generator=torch.Generator().manual_seed(3))
    a, b, c = torch.nn.functional.avg_pool2d(noise, 3, 1, 1)[:, None]
    a, b = (a * 160 + 20).round(), (b * 200).round()
    return [(0.5 * a + 0.4 * b + 20 * c).round(), a, b]


def wide(x: torch.Tensor) -> np.ndarray:
    y = x[0, 0].double().numpy()
    return np.floor((y - y.min()) / (y.max() - y.min()) * 255 + 0.5)


def frequencies(n: int) -> np.ndarray:
    """Return what MATLAB's ``freqspace`` does: -1 to 1, the lowest frequency in the middle."""
    return np.arange(-(n // 2), n - n // 2) / n * 2


def passed(x: np.ndarray, response) -> np.ndarray:
    """Filter as MATLAB code does, with the spectrum shifted to the middle and back."""
    h, w = x.shape
    v, u = np.meshgrid(frequencies(h) * h, frequencies(w) * w, indexing="ij")
    spectrum = np.fft.fftshift(np.fft.fft2(x)) * response(np.sqrt(u**2 + v**2))
    return np.fft.ifft2(np.fft.ifftshift(spectrum)).real


def masked_contrast(x: np.ndarray) -> np.ndarray:
    def response(radius):
        r = radius / 30
        return np.exp(-((r / 15.3870) ** 2)) - 0.7622 * np.exp(-((r / 1.3456) ** 2))

    x = passed(x, response)
    at = np.arange(-15, 16)
    square = at[:, None] ** 2 + at**2
    fine, coarse = (
        scipy.signal.correlate2d(
            x, np.exp(-square / (2 * s * s)) / (2 * np.pi * s * s), mode="same", boundary="fill"
        )
        for s in (2, 4)
    )
    c = np.abs(fine / coarse - 1)
    return c**3 / (c**2 + 0.0001)


def test_contrast_preservation_is_the_definition(images):
    f, a, b = (masked_contrast(wide(x)) for x in images)
    of_a, of_b = (np.where(x < f, x / f, f / x) for x in (a, b))
    expected = ((a**2 * of_a + b**2 * of_b) / (a**2 + b**2)).mean()
    found = metrics.contrast_preservation(images[0], images[1:])
    assert float(found) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("method", "image"), ZOO)
def test_profile_zoo_gives_what_its_own_code_prints(data_root: Path, method, image):
    files = (
        data_root / "reference" / "tno_fused" / method / f"{image}.png",
        *(data_root / "tno" / modality / f"{image}.png" for modality in ("ir", "vi")),
    )
    read = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in files]
    fused, *sources = (torch.from_numpy(x).float()[None, None] for x in read if x is not None)
    found = float(metrics.contrast_preservation(fused, sources, narrow=True))
    assert found == pytest.approx(ZOO[method, image], rel=1e-4)  # it has float32 frequencies


def test_perceived_difference_is_the_definition(images):
    def response(radius):
        r = radius / 8
        return 2.6 * (0.0192 + 0.144 * r) * np.exp(-((0.144 * r) ** 1.1))

    f, *given = (wide(x) for x in images)
    lost = total = 0.0
    for s in given:
        strength = np.hypot(
            scipy.ndimage.sobel(s, 0, mode="constant"), scipy.ndimage.sobel(s, 1, mode="constant")
        )
        difference = passed(s - f, response)
        for top in range(0, s.shape[0], 16):
            for left in range(0, s.shape[1], 16):
                block = np.s_[top : top + 16, left : left + 16]
                salience = (strength[block] ** 5).sum()
                lost += salience * (difference[block] ** 2).sum() / 256
                total += salience
    found = metrics.perceived_difference(images[0], images[1:])
    assert float(found) == pytest.approx(lost / total, rel=1e-9)


def test_flat_images_have_the_documented_values(images):
    fused, a, _ = images
    for level in (0.0, 128.0):
        flat = torch.full_like(fused, level)
        assert metrics.contrast_preservation(flat, [flat, flat]).item() == pytest.approx(1)
        assert 0 <= metrics.contrast_preservation(flat, [fused, a]).item() < 0.5
        assert metrics.perceived_difference(flat, [flat, flat]).item() == 0
        assert metrics.perceived_difference(fused, [flat, flat]).item() > 0
