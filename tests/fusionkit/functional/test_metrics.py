"""Every metric against the reference evaluator on real images, and against other libraries."""

from __future__ import annotations

import csv
import functools
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.signal
import skimage.measure
import skimage.metrics
import torch
import torchmetrics.functional.image

from fusionkit.errors import FusionkitError
from fusionkit.functional import metrics
from fusionkit.functional.metrics.moments import local_moments
from fusionkit.functional.metrics.vif import _Blur, _downsample, _gaussian

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
    "Nabf": metrics.fusion_artifacts,
    "CE": metrics.cross_entropy,
    "NMI": metrics.normalized_mutual_information,
    "QNCIE": metrics.nonlinear_correlation,
    "TE": metrics.tsallis_information,
    "EI": lambda f, s: metrics.edge_intensity(f),
    "CE zoo": functools.partial(metrics.cross_entropy, of_pixels=True),
    "NMI zoo": functools.partial(metrics.normalized_mutual_information, of_sources=True),
    "QNCIE zoo": functools.partial(metrics.nonlinear_correlation, linear=True),
    "TE liu": functools.partial(metrics.tsallis_information, exchanged=True),
    "EI zoo": lambda f, s: metrics.edge_intensity(f, border="zeros"),
    "Qy": metrics.similarity_of_regions,
    "Qcb": metrics.contrast_preservation,
    "Qcb zoo": functools.partial(metrics.contrast_preservation, narrow=True),
    "Qcv": metrics.perceived_difference,
    "FMI-pixel": metrics.feature_information,
    "FMI-dct": functools.partial(metrics.feature_information, feature="dct"),
    "FMI-wavelet": functools.partial(metrics.feature_information, feature="wavelet"),
    "SF vifb": lambda f, s: metrics.spatial_frequency(f, over_all=True),
    "AG tang": lambda f, s: metrics.average_gradient(f, over_inner=True),
    "EN zoo": lambda f, s: metrics.entropy(f, epsilon=1e-7),
    "MI tang": functools.partial(metrics.mutual_information, base=2.0, saturated=True),
    "VIF zoo": functools.partial(metrics.visual_information_fidelity, padded=True),
    "Qabf petrovic": functools.partial(metrics.edge_transfer, textbook=True),
    "SSIM vifb": functools.partial(
        metrics.structural_similarity, window="gaussian", data_range=255.0
    ),
    "PSNR tang": functools.partial(metrics.peak_signal_to_noise, white=1.0, peak=255.0),
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
    image = torch.rand(1, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = scipy.signal.convolve2d(image[0], gaussian(size), mode="valid")
    window = _gaussian(size)
    if step == 1:
        strips = local_moments([image[0]], _Blur(window), size, rows=24)
        found = torch.cat([means[0] for means, _, _ in strips])
    else:
        found = _downsample(image, window)[0]
    assert found.numpy() == pytest.approx(expected[::step, ::step])


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


@pytest.mark.parametrize("name", sorted(name for name in FUNCTIONS if not name.startswith("VIF")))
def test_the_smallest_images_score(name):
    fused, other = torch.rand(2, 1, 1, 16, 16) * 255
    assert torch.isfinite(FUNCTIONS[name](fused, [fused, other])).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (2, 2), (2, 9), (3, 5)])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_tiny_images_have_a_value_or_are_refused_in_a_sentence(name, shape):
    generator = torch.Generator().manual_seed(1)
    fused, other = (torch.rand(2, 1, 1, *shape, generator=generator) * 255).round()
    least = {"VIF": 41, "Nabf": 2, "FMI-pixel": 3, "FMI-dct": 3, "FMI-wavelet": 3}
    is_refused = min(shape) < least.get(name.split()[0], 1)
    if is_refused:
        with pytest.raises(FusionkitError, match=f"{shape[0]}x{shape[1]}"):
            FUNCTIONS[name](fused, [fused, other])
    else:
        assert torch.isfinite(FUNCTIONS[name](fused, [fused, other])).all()


def test_flat_images_have_the_documented_values():
    # The table "Constant images" in docs/metrics.md.
    noise = torch.randint(
        0, 256, (1, 1, 64, 64), generator=torch.Generator().manual_seed(0)
    ).float()
    grey, black = torch.full_like(noise, 128), torch.zeros_like(noise)
    for flat in (grey, black):
        assert metrics.entropy(flat).item() == 0
        assert math.copysign(1, metrics.entropy(flat).item()) == 1
        assert metrics.spatial_frequency(flat).item() == 0
        assert metrics.average_gradient(flat).item() == 0
        for function in (metrics.correlation, metrics.mutual_information, metrics.fusion_artifacts):
            assert function(flat, [noise, noise]).item() == pytest.approx(0, abs=1e-9)
        assert metrics.correlation(noise, [noise, flat]).item() == pytest.approx(0.5)
        assert metrics.visual_information_fidelity(flat, [noise, noise]).item() < 1e-6
        assert metrics.visual_information_fidelity(noise, [flat, flat]).item() == 2


def test_three_sources_are_as_symmetric_as_two(batch):
    fused, (a, b) = batch
    for name, function in FUNCTIONS.items():
        forward = function(fused, [a, b, fused])
        backward = function(fused, [fused, b, a])
        assert torch.allclose(forward, backward), name


def test_gaussian_ssim_is_that_of_skimage(batch):
    fused, sources = batch
    f, *given = (x[:, 0].double().numpy() for x in (fused, *sources))
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    found = metrics.structural_similarity(fused, sources, window="gaussian", data_range=255.0)
    for k in range(4):
        expected = 0.0
        for source in given:
            # skimage averages over all but five pixels at each border, as valid windows do.
            expected += skimage.metrics.structural_similarity(
                source[k], f[k], data_range=255, **options
            )
        assert float(found[k]) == pytest.approx(expected, rel=1e-9)
    half = metrics.structural_similarity(
        fused, sources, window="gaussian", data_range=255.0, average=True
    )
    assert torch.allclose(half * 2, found)


def naive_multiscale(a: np.ndarray, b: np.ndarray) -> float:
    """Wang's definition with scipy's convolution: valid windows, means of 2 x 2 pixels between."""
    at = np.arange(11) - 5
    window = np.exp(-(at[:, None] ** 2 + at**2) / (2 * 1.5**2))
    mean = functools.partial(scipy.signal.convolve2d, in2=window / window.sum(), mode="valid")
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    result = 1.0
    for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        m_a, m_b = mean(a), mean(b)
        v_a, v_b, v = mean(a * a) - m_a**2, mean(b * b) - m_b**2, mean(a * b) - m_a * m_b
        part = (2 * v + c2) / (v_a + v_b + c2)
        if scale == 4:
            part = part * (2 * m_a * m_b + c1) / (m_a**2 + m_b**2 + c1)
        result *= part.mean() ** weight
        a, b = (x.reshape(len(x) // 2, 2, -1, 2).mean(axis=(1, 3)) for x in (a, b))
    return result


def test_multiscale_ssim_is_the_definition():
    generator = torch.Generator().manual_seed(2)
    noise = torch.rand(3, 1, 24, 32, generator=generator)
    a, b, f = torch.nn.functional.interpolate(noise, (192, 256), mode="bicubic").clamp(0, 1) * 255
    f = (0.5 * a + 0.5 * b + 0.1 * f)[None]
    a, b = a[None], b[None]
    expected = [
        naive_multiscale(s[0, 0].double().numpy(), f[0, 0].double().numpy()) for s in (a, b)
    ]
    found = metrics.multiscale_similarity(f, [a, b])
    assert float(found[0]) == pytest.approx(sum(expected), rel=1e-9)
    # torchmetrics takes the coarsest scale over reflected borders too, hence a little apart
    other = torchmetrics.functional.image.multiscale_structural_similarity_index_measure(
        f.double(), a.double(), data_range=255.0
    )
    assert float(other) == pytest.approx(expected[0], rel=0.03)
    with pytest.raises(FusionkitError, match="MS-SSIM needs images of at least 176x176"):
        metrics.multiscale_similarity(f[..., :170], [a[..., :170]])


def naive_nabf(fused: np.ndarray, sources: list[np.ndarray]) -> float:
    """Kumar's definition, pixel by pixel."""
    kernel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 8

    def edges(x):
        x = np.pad(x, 1, mode="reflect")
        across = scipy.signal.correlate2d(x, kernel, mode="valid")
        down = scipy.signal.correlate2d(x, kernel.T, mode="valid")
        return across * across + down * down, across, down

    g_f, x_f, y_f = edges(fused)
    seen = [edges(s) for s in sources]
    lost = weights = 0.0
    for place in np.ndindex(g_f.shape):
        # squares, which are exact, so that ties are ties
        stronger = all(g_f[place] > g[place] for g, _, _ in seen)
        for g, x, y in seen:
            a, b = np.sqrt(g[place]), np.sqrt(g_f[place])
            ratio = 0.0 if a == 0 or b == 0 else min(a, b) / max(a, b)
            angle = np.arctan(x[place] / y[place]) if a else 0.0
            angle_f = np.arctan(x_f[place] / y_f[place]) if b else 0.0
            aligned = abs(abs(angle - angle_f) - np.pi / 2) * 2 / np.pi
            kept = np.sqrt(
                0.9999
                / (1 + np.exp(-19 * (ratio - 0.5)))
                * 0.9995
                / (1 + np.exp(-22 * (aligned - 0.5)))
            )
            weight = a**1.5 if a >= 2 else 0.001
            weights += weight
            lost += weight * (1 - kept) * stronger
    return lost / weights


def test_a_tiny_nabf_is_as_precise_as_a_large_one(batch):
    # Edges that are kept almost entirely: what each loses is the difference of two numbers near 1.
    _, (a, _) = batch
    fused = a.clone()
    fused[..., 30, 20] += 1
    found = metrics.fusion_artifacts(fused, [a, a]).numpy()
    for k in range(4):
        source = a[k, 0].double().numpy()
        with np.errstate(divide="ignore"):
            expected = naive_nabf(fused[k, 0].double().numpy(), [source, source])
        assert 0 < expected < 1e-3
        assert found[k] == pytest.approx(expected, rel=1e-6, abs=0)


def test_nabf_is_the_definition(batch):
    fused, sources = batch
    generator = torch.Generator().manual_seed(8)
    noisy = (fused + 12 * torch.randn(fused.shape, generator=generator)).round().clamp(0, 255)
    f, *given = (x[0, 0].double().numpy() for x in (noisy, *sources))
    with np.errstate(divide="ignore"):
        expected = naive_nabf(f, given)
        swapped = naive_nabf(given[0] / 255, [given[1] / 255, f / 255])
    assert expected > 0.01
    assert float(metrics.fusion_artifacts(noisy, sources)[0]) == pytest.approx(expected)
    found = metrics.fusion_artifacts(noisy, sources, permuted=True)
    # images of 0 .. 1 are not exact, so that ties fall as they like
    assert float(found[0]) == pytest.approx(swapped, rel=2e-3)
    with pytest.raises(FusionkitError, match="takes two sources, found 3"):
        metrics.fusion_artifacts(noisy, [*sources, noisy], permuted=True)


def test_padded_vif_is_the_definition(batch):
    fused, sources = batch
    f, *given = (x[0, 0].double().numpy() for x in (fused, *sources))

    def window(n):
        at = np.linspace(-n // 2, n // 2, n)
        w = np.exp(-(at[:, None] ** 2 + at**2) / (2 * (n / 5) ** 2))
        return w / w.sum()

    total = 0.0
    for r in given:
        kept = there = 0.0
        d = f
        for n in (17, 9, 5, 3):
            mean = functools.partial(
                scipy.signal.correlate2d, in2=window(n), mode="same", boundary="fill"
            )
            if n < 17:
                r, d = mean(r)[::2, ::2], mean(d)[::2, ::2]
            var_r, var_d = mean(r * r) - mean(r) ** 2, mean(d * d) - mean(d) ** 2
            covariance = mean(r * d) - mean(r) * mean(d)
            gain = np.maximum(covariance / (var_r + 1e-10), 0)
            residue = np.where(covariance < 0, var_d, np.maximum(var_d - gain * covariance, 1e-10))
            kept += np.log10(1 + gain**2 * var_r / (residue + 2)).sum()
            there += np.log10(1 + var_r / 2).sum()
        total += kept / there
    found = metrics.visual_information_fidelity(fused[:1], [s[:1] for s in sources], padded=True)
    assert float(found[0]) == pytest.approx(total, rel=1e-9)


def test_textbook_qabf_takes_an_image_for_a_perfect_copy_of_itself(batch):
    fused, _ = batch
    found = metrics.edge_transfer(fused, [fused, fused], textbook=True)
    perfect = 0.9994 / (1 + np.exp(-7.5)) * 0.9879 / (1 + np.exp(-4.4))
    assert found.numpy() == pytest.approx(perfect)
    # edges have no sign: a reversed image keeps more of them than without wrapping
    negative = 255 - fused
    wrapped = metrics.edge_transfer(negative, [fused], textbook=True)
    assert (wrapped > metrics.edge_transfer(negative, [fused]) + 0.1).all()
