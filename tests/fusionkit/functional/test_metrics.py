"""Every metric against the reference evaluator on real images, and against other libraries."""

from __future__ import annotations

import csv
import functools
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.signal
import skimage.measure
import skimage.metrics
import torch

from fusionkit.errors import FusionkitError
from fusionkit.functional import metrics
from fusionkit.functional.metrics.vif import _blur, _gaussian

FUNCTIONS = {
    "EN": lambda f, s: metrics.entropy(f),
    "SD": lambda f, s: metrics.standard_deviation(f),
    "SF": lambda f, s: metrics.spatial_frequency(f),
    "AG": lambda f, s: metrics.average_gradient(f),
    "SCD": metrics.differences_correlation,
    "VIF": metrics.visual_information_fidelity,
    "MI": metrics.mutual_information,
    "Qabf": metrics.edge_transfer,
    "SSIM": metrics.structural_similarity,
    "CC": metrics.correlation,
    "PSNR": metrics.peak_signal_to_noise,
    "MSE": metrics.mean_squared_error,
}


def grey(path: Path) -> torch.Tensor:
    image = cv2.imread(str(path))
    assert image is not None, path
    return torch.from_numpy(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)).float()[None, None]


@pytest.fixture(scope="module")
def reference(data_root: Path) -> dict[tuple[str, str], dict[str, float]]:
    values: dict[tuple[str, str], dict[str, float]] = {}
    with (data_root / "reference" / "tno_metrics_cddfuse.csv").open() as file:
        for row in csv.DictReader(file):
            values.setdefault((row["method"], row["image"]), {})[row["metric"]] = float(
                row["value"]
            )
    return values


def test_all_published_results_score_as_the_reference_evaluator_does(data_root, reference):
    assert len(reference) == 54
    for (method, image), expected in reference.items():
        fused = grey(data_root / "reference" / "tno_fused" / method / f"{image}.png")
        sources = [grey(data_root / "tno" / m / f"{image}.png") for m in ("ir", "vi")]
        assert set(expected) <= set(FUNCTIONS)
        for name, value in expected.items():
            found = float(FUNCTIONS[name](fused, sources)[0])
            tolerance = 1e-3 if name == "Qabf" else 1e-4
            assert found == pytest.approx(value, rel=tolerance), (method, image, name)


@pytest.fixture
def batch() -> tuple[torch.Tensor, list[torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (3, 4, 1, 64, 51), generator=generator).float()
    smooth = torch.nn.functional.avg_pool2d(images.flatten(0, 1), 5, 1, 2).round()
    a, b, f = smooth.view_as(images)
    return ((a + b + f) / 3).round(), [a, b]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_batch_scores_as_its_images_alone(batch, name):
    fused, sources = batch
    together = FUNCTIONS[name](fused, sources)
    assert together.shape == (4,)
    assert together.dtype == torch.float64
    alone = [FUNCTIONS[name](fused[k : k + 1], [s[k : k + 1] for s in sources]) for k in range(4)]
    assert torch.allclose(together, torch.cat(alone), rtol=1e-12)


def test_entropy_is_that_of_skimage(batch):
    fused, _ = batch
    expected = [skimage.measure.shannon_entropy(x[0].numpy().astype(np.uint8)) for x in fused]
    assert metrics.entropy(fused).numpy() == pytest.approx(expected)


def test_ssim_is_that_of_skimage_with_its_old_default(batch):
    fused, sources = batch
    f, *given = (x[:, 0].double().numpy() for x in (fused, *sources))
    expected = np.zeros(4)
    for source in given:
        for k in range(4):
            expected[k] += skimage.metrics.structural_similarity(source[k], f[k], data_range=2.0)
    assert metrics.structural_similarity(fused, sources).numpy() == pytest.approx(expected)


def test_mutual_information_of_an_image_with_itself_is_its_entropy_in_nats(batch):
    fused, _ = batch
    expected = 2 * metrics.entropy(fused) * np.log(2)
    assert torch.allclose(metrics.mutual_information(fused, [fused, fused]), expected)


@pytest.mark.parametrize(("size", "step"), [(17, 1), (9, 2), (3, 1), (3, 2)])
@pytest.mark.parametrize("shape", [(30, 33), (41, 64), (17, 100)])
def test_vif_window_is_the_full_two_dimensional_gaussian(size, step, shape):
    image = torch.rand(
        1, 1, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    expected = scipy.signal.convolve2d(image[0, 0], gaussian(size), mode="valid")
    found = _blur(image, _gaussian(size), step)[0, 0].numpy()
    assert found == pytest.approx(expected[::step, ::step])


def gaussian(size: int) -> np.ndarray:
    grid = np.arange(size) - size // 2
    window = np.exp(-(grid[:, None] ** 2 + grid**2) / (2 * (size / 5) ** 2))
    return window / window.sum()


def vifp(reference: np.ndarray, distorted: np.ndarray) -> float:
    """The definition, pixel by pixel, with scipy's convolution: for images flat nowhere."""
    kept = there = 0.0
    r, d = reference, distorted
    for size in (17, 9, 5, 3):
        mean = functools.partial(scipy.signal.convolve2d, in2=gaussian(size), mode="valid")
        if size < 17:
            r, d = mean(r)[::2, ::2], mean(d)[::2, ::2]
        var_r, var_d = mean(r * r) - mean(r) ** 2, mean(d * d) - mean(d) ** 2
        covariance = mean(r * d) - mean(r) * mean(d)
        gain = np.maximum(covariance / (var_r + 1e-10), 0)
        residue = np.where(covariance < 0, var_d, np.maximum(var_d - gain * covariance, 1e-10))
        kept += np.log10(1 + gain**2 * var_r / (residue + 2)).sum()
        there += np.log10(1 + var_r / 2).sum()
    return kept / there


def test_vif_is_the_definition(batch):
    fused, sources = batch
    f, *given = (x[:, 0].double().numpy() for x in (fused, *sources))
    expected = [sum(vifp(source[k], f[k]) for source in given) for k in range(4)]
    found = metrics.visual_information_fidelity(fused, sources).numpy()
    assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("edge", [100.0, 100.5])
def test_vif_with_flat_regions_counts_the_others_alone(edge):
    # The left half of the source is flat, as saturated sky is: it neither counts nor breaks.
    generator = torch.Generator().manual_seed(5)
    source = (torch.rand(1, 1, 64, 160, generator=generator) * 255).round()
    source[..., :80] = edge
    noisy = (source + 9 * torch.randn(source.shape, generator=generator)).round().clamp(0, 255)
    assert 0 < float(metrics.visual_information_fidelity(noisy, [source])[0]) < 1
    assert float(metrics.visual_information_fidelity(source, [source])[0]) == pytest.approx(1)
    flat = torch.full_like(source, edge)
    assert metrics.visual_information_fidelity(flat, [source]).tolist() == [0]
    assert metrics.visual_information_fidelity(source, [flat]).tolist() == [1]


def test_an_image_keeps_all_information_about_itself(batch):
    fused, _ = batch
    # 2 but for the term the definition adds against division by zero
    assert metrics.visual_information_fidelity(fused, [fused, fused]).numpy() == pytest.approx(
        2, rel=1e-6
    )
    assert metrics.structural_similarity(fused, [fused, fused]).numpy() == pytest.approx(2)
    assert metrics.correlation(fused, [fused, fused]).numpy() == pytest.approx(1)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_constant_images_give_finite_values(name):
    flat = torch.full((2, 1, 48, 48), 90.0)
    assert torch.isfinite(FUNCTIONS[name](flat, [flat, flat])).all()
    black = torch.zeros(2, 1, 48, 48)
    assert torch.isfinite(FUNCTIONS[name](black, [black, flat])).all()


def test_vif_refuses_images_without_four_scales():
    small = torch.rand(1, 1, 40, 64)
    with pytest.raises(FusionkitError, match="VIF needs images of at least 41x41 pixels"):
        metrics.visual_information_fidelity(small, [small, small])
    fits = torch.rand(1, 1, 41, 41) * 255
    assert torch.isfinite(metrics.visual_information_fidelity(fits, [fits, fits])).all()


@pytest.mark.parametrize("name", sorted(set(FUNCTIONS) - {"VIF"}))
def test_the_smallest_images_score(name):
    fused, other = torch.rand(2, 1, 1, 16, 16) * 255
    assert torch.isfinite(FUNCTIONS[name](fused, [fused, other])).all()


def test_three_sources_are_as_symmetric_as_two(batch):
    fused, (a, b) = batch
    for name, function in FUNCTIONS.items():
        forward = function(fused, [a, b, fused])
        backward = function(fused, [fused, b, a])
        assert torch.allclose(forward, backward), name
