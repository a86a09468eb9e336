"""CE, NMI, QNCIE, TE and EI against other libraries, naive loops and published code."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.filters
import skimage.measure
import skimage.metrics
import torch

from fusionkit.functional import metrics
from fusionkit.functional.metrics.levels import stretched

# What IVIF_ZOO's own Metric_torch.py prints for published results on TNO (Metric/ of commit
# 2fc8473, images read by cv2.imread(path, 0)).
ZOO = {
    ("SeAFusion", "08"): (0.02040133997797966, 0.7044493768493825, 0.9161543771624565, 95.5304184),
    ("DenseFuse", "22"): (0.3338760733604431, 0.3739206898646072, 0.8851994276046753, 29.87372017),
    ("U2Fusion", "36"): (9.820038030738942e-06, 0.292711255169, 0.882997326552868, 51.45835495),
}


@pytest.fixture
def images() -> list[torch.Tensor]:
    """Return a fused image before two sources, none of which has all levels."""
    noise = torch.rand(3, 1, 1, 40, 53, generator=torch.Generator().manual_seed(3))
    a, b, c = torch.nn.functional.avg_pool2d(noise.flatten(0, 1), 3, 1, 1).split(1)
    a, b = (a * 160 + 20).round(), (b * 200).round()
    return [(0.5 * a + 0.4 * b + 20 * c).round(), a, b]


def arrays(images: list[torch.Tensor]) -> list[np.ndarray]:
    return [x[0, 0].numpy().astype(int) for x in images]


def stretched_arrays(images: list[torch.Tensor]) -> list[np.ndarray]:
    """Stretch as MATLAB does, whose ``round`` takes halves up."""
    return [
        np.floor((x - x.min()) / (x.max() - x.min()) * 255 + 0.5).astype(int)
        for x in arrays(images)
    ]


def shared_information(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Return mutual information and the sum of the entropies in bits, by scikit-image."""
    total = skimage.measure.shannon_entropy(a) + skimage.measure.shannon_entropy(b)
    # (H(a) + H(b)) / H(a, b); 256 bins between the extremes keep levels apart
    ratio = skimage.metrics.normalized_mutual_information(a, b, bins=256)
    return float(total - total / ratio), float(total)


@pytest.mark.parametrize(("method", "image"), ZOO)
def test_profile_zoo_gives_what_its_own_code_prints(data_root: Path, method, image):
    files = (
        data_root / "reference" / "tno_fused" / method / f"{image}.png",
        *(data_root / "tno" / modality / f"{image}.png" for modality in ("ir", "vi")),
    )
    read = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in files]
    fused, *sources = (torch.from_numpy(x).float()[None, None] for x in read if x is not None)
    found = (
        metrics.cross_entropy(fused, sources, of_pixels=True),
        metrics.normalized_mutual_information(fused, sources, of_sources=True),
        metrics.nonlinear_correlation(fused, sources, linear=True),
        metrics.edge_intensity(fused, border="zeros"),
    )
    assert [float(x) for x in found] == pytest.approx(ZOO[method, image], rel=2e-6)


def test_normalized_mutual_information_is_that_of_skimage(images):
    fused, *sources = stretched_arrays(images)
    expected = 0.0
    for source in sources:
        shared, total = shared_information(fused, source)
        expected += 2 * shared / total
    found = metrics.normalized_mutual_information(images[0], images[1:])
    assert float(found) == pytest.approx(expected, rel=1e-9)


def test_nonlinear_correlation_is_that_of_mutual_information_by_skimage(images):
    given = stretched_arrays(images)
    matrix = np.eye(3)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        matrix[i, j] = matrix[j, i] = shared_information(given[i], given[j])[0] / 8
    values = np.linalg.eigvals(matrix) / 3
    expected = 1 + (values * np.log(values)).sum() / np.log(256)
    found = metrics.nonlinear_correlation(images[0], images[1:])
    assert float(found) == pytest.approx(expected, rel=1e-9)


def naive_tsallis(source: np.ndarray, fused: np.ndarray, exchanged: bool) -> float:
    pairs, levels = np.unique(np.stack([source.ravel(), fused.ravel()]), axis=1, return_counts=True)
    total = 0.0
    for (s, f), count in zip(pairs.T, levels, strict=True):
        p_s, p_f = ((source == f).mean(), (fused == s).mean()) if exchanged else (
            (source == s).mean(), (fused == f).mean())  # fmt: skip
        if p_s * p_f > 0:
            total += (count / source.size) ** 1.85 / (p_s * p_f) ** 0.85
    return (1 - total) / (1 - 1.85)


@pytest.mark.parametrize("exchanged", [False, True])
def test_tsallis_information_is_the_definition(images, exchanged):
    fused, *sources = stretched_arrays(images) if exchanged else arrays(images)
    expected = sum(naive_tsallis(source, fused, exchanged) for source in sources)
    found = metrics.tsallis_information(images[0], images[1:], exchanged=exchanged)
    assert float(found) == pytest.approx(expected, rel=1e-9)


def test_tsallis_information_of_independent_images_is_nothing():
    across = torch.arange(16.0).expand(1, 1, 16, 16).contiguous()
    assert float(metrics.tsallis_information(across, [across.mT])) == pytest.approx(0, abs=1e-12)


def test_cross_entropy_is_the_definition(images):
    fused, *sources = arrays(images)
    expected = 0.0
    for source in sources:
        for level in range(256):
            p, q = (source == level).mean(), (fused == level).mean()
            if p > 0 and q > 0:
                expected += p * np.log2(p / q) / 2
    assert float(metrics.cross_entropy(images[0], images[1:])) == pytest.approx(expected)


def test_edge_intensity_is_that_of_skimage(images):
    # skimage's kernels sum to 1, and it takes the mean of both squares
    expected = skimage.filters.sobel(images[0][0, 0].numpy(), mode="nearest").mean() * 4 * 2**0.5
    assert float(metrics.edge_intensity(images[0])) == pytest.approx(expected, rel=1e-6)


def test_flat_images_have_the_documented_values(images):
    fused, a, _ = images
    flat = torch.full_like(fused, 128)
    assert metrics.edge_intensity(flat).item() == 0
    for function in (metrics.normalized_mutual_information, metrics.tsallis_information):
        assert function(flat, [fused, a]).item() == pytest.approx(0, abs=1e-12)
        assert function(flat, [flat, flat]).item() == pytest.approx(0, abs=1e-12)
    assert metrics.nonlinear_correlation(flat, [flat, flat]).item() == pytest.approx(
        1 - np.log(3) / np.log(256)
    )
    assert metrics.cross_entropy(flat, [flat, flat]).item() == 0
    # p log2(p / q) with q = 1 / 2120 for each level but 128
    assert metrics.cross_entropy(flat, [fused, a]).item() > 3


def test_a_constant_image_is_not_stretched():
    images = torch.tensor([[7.0, 7.0], [3.0, 4.0]]).view(2, 1, 1, 2)
    assert stretched(images).flatten().tolist() == [7, 7, 0, 255]
