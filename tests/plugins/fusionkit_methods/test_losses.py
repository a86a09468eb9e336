"""Losses of published methods against their formulas, computed with numpy, scipy and skimage."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
import skimage.metrics
import torch

import fusionkit as fk
from fusionkit.errors import FusionkitError
from fusionkit.interfaces import FusionStep

SMOOTH = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(6, 1, 8, 8, generator=generator)
    return torch.nn.functional.interpolate(coarse, (40, 48), mode="bicubic").clamp(0, 1)


@pytest.fixture
def step(images):
    return step_of(images[:2], images[2:4], images[4:])


def step_of(fused, infrared, visible, backbone=None):
    backbone = backbone or fk.build("backbone", name="average")
    sources = {"infrared": infrared, "visible": visible}
    return FusionStep(sources, fused, backbone, {}, [], torch.Generator().manual_seed(0))


def edges(x: torch.Tensor) -> np.ndarray:
    """Return |dx| + |dy| by the normalized Sobel operator; borders are replicated."""
    array = x[:, 0].double().numpy()
    return sum(
        np.stack([np.abs(scipy.ndimage.sobel(a, axis=axis, mode="nearest")) / 8 for a in array])
        for axis in (0, 1)
    )


def ssim(a: torch.Tensor, b: torch.Tensor) -> np.ndarray:
    """Return the mean SSIM by skimage."""
    return np.array(
        [
            skimage.metrics.structural_similarity(x, y, data_range=1, full=True, **SMOOTH)[1].mean()
            for x, y in zip(a[:, 0].double().numpy(), b[:, 0].double().numpy(), strict=True)
        ]
    )


def test_content_matches_the_formula_of_the_paper(step):
    found = float(fk.build("loss", name="content", texture=3.0)(step))
    infrared, visible = step.sources.values()
    intensity = (step.fused - torch.maximum(infrared, visible)).abs().mean()
    gap = np.abs(edges(step.fused) - np.maximum(edges(infrared), edges(visible))).mean()
    assert found == pytest.approx(float(intensity) + 3 * gap, rel=1e-5)


def test_content_is_zero_for_the_brightest_of_flat_sources():
    flat = [torch.full((1, 1, 16, 16), level) for level in (0.7, 0.2, 0.7)]
    assert float(fk.build("loss", name="content")(step_of(*flat))) == 0


def test_structure_matches_the_ssim_of_skimage(step):
    found = float(fk.build("loss", name="structure")(step))
    expected = np.mean([1 - ssim(step.fused, source) for source in step.sources.values()])
    # skimage pads in a different way, which changes a few rows at the border
    assert found == pytest.approx(expected, abs=0.02)


def test_reconstruction_compares_each_source_with_its_fusion_with_itself(step):
    class Darker(torch.nn.Module):
        def forward(self, sources):
            one, other = sources.values()
            assert torch.equal(one, other)
            return 0.5 * one

    dark = step_of(step.fused, *step.sources.values(), backbone=Darker())  # type: ignore[arg-type]
    found = float(fk.build("loss", name="reconstruction", structure=0.0)(dark))
    expected = sum(float((0.5 * x).square().mean()) for x in step.sources.values())
    assert found == pytest.approx(expected, rel=1e-5)
    more = float(fk.build("loss", name="reconstruction", structure=2.0)(dark))
    unlike = sum(np.mean(1 - ssim(0.5 * x, x)) for x in step.sources.values())
    assert more == pytest.approx(expected + 2 * unlike, abs=0.05)


def test_weights_are_a_softmax_of_the_information(images):
    loss = fk.build("loss", name="information-preservation", scales=1, temperature=0.01)
    rich, poor = images[:2], 0.3 * images[2:4]
    weights = loss.weights([rich, poor])
    measures = np.stack([(edges(x) ** 2).mean(axis=(1, 2)) for x in (rich, poor)])
    expected = np.exp(measures / 0.01) / np.exp(measures / 0.01).sum(axis=0)
    assert weights.numpy() == pytest.approx(expected, rel=1e-4)
    assert torch.allclose(weights.sum(dim=0), torch.ones(2))
    assert (weights[0] > weights[1]).all()
    # the loss prefers the source with more information
    assert float(loss(step_of(rich, rich, poor))) < float(loss(step_of(poor, rich, poor)))
    equal = fk.build("loss", name="information-preservation").weights([rich, rich.clone()])
    assert torch.allclose(equal, torch.full_like(equal, 0.5))


def test_information_preservation_matches_its_formula(step):
    loss = fk.build("loss", name="information-preservation", intensity=7.0)
    weights = loss.weights(list(step.sources.values())).numpy()
    expected = 0.0
    for weight, source in zip(weights, step.sources.values(), strict=True):
        error = (step.fused - source).square().mean(dim=(1, 2, 3)).numpy()
        expected += (weight * ((1 - ssim(step.fused, source)) + 7 * error)).mean()
    assert float(loss(step)) == pytest.approx(expected, abs=0.02)


def test_decomposition_matches_its_formula(step):
    network = fk.build("backbone", name="cddfuse", width=8, heads=2, blocks=1, couplings=1)
    step = step_of(step.fused, *step.sources.values(), backbone=network)
    (base_a, detail_a), (base_b, detail_b) = map(network.decompose, step.sources.values())

    def correlation(a, b):
        pairs = zip(a.flatten(0, 1).flatten(1), b.flatten(0, 1).flatten(1), strict=True)
        return np.mean([np.corrcoef(x.detach(), y.detach())[0, 1] for x, y in pairs])

    expected = correlation(detail_a, detail_b) ** 2 / (1.01 + correlation(base_a, base_b))
    found = fk.build("loss", name="decomposition")(step)
    assert found.item() == pytest.approx(expected, rel=1e-3)
    found.backward()
    assert all(
        p.grad is not None
        for part in (network.shared, network.base, network.detail)
        for p in part.parameters()
    )


def test_decomposition_needs_base_and_detail_features(step):
    with pytest.raises(FusionkitError, match=r"'average'.*cddfuse"):
        fk.build("loss", name="decomposition")(step)
