"""Distances and losses: optima, masks, noise, and what they refuse."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from skimage.metrics import structural_similarity

from fusionkit.errors import FusionkitError
from fusionkit.interfaces import FusionStep
from fusionkit_emma.distances import L1, SSIM, L1Sobel
from fusionkit_emma.losses import Equivariance, Sensing
from fusionkit_emma.transforms import Dihedral, Reflect, Rotate, Shift

DISTANCES = [L1(), L1Sobel(), SSIM()]


class Identity(torch.nn.Module):
    def forward(self, x):
        return x


def average(sources):
    return sum(sources.values()) / len(sources)


def step(sources=None, backbone=average, sensors=None, seed=0, transforms=()):
    generator = torch.Generator().manual_seed(7)
    if sources is None:
        x = torch.rand(2, 1, 32, 32, generator=generator)
        sources = {"infrared": x, "visible": x}
    if sensors is None:
        sensors = {name: Identity() for name in sources}
    return FusionStep(
        sources,
        backbone(sources),
        backbone,
        sensors,
        list(transforms),
        torch.Generator().manual_seed(seed),
    )


@pytest.mark.parametrize("distance", DISTANCES, ids=lambda d: d.name)
def test_distance_is_zero_at_its_optimum_and_positive_elsewhere(distance):
    a, b = torch.rand(2, 2, 1, 32, 32)
    assert distance(a, a).item() == pytest.approx(0, abs=1e-6)
    assert distance(a, b).item() > 0.1
    flat = torch.zeros(1, 1, 32, 32)
    assert torch.isfinite(distance(flat, flat))


@pytest.mark.parametrize("distance", DISTANCES, ids=lambda d: d.name)
def test_masked_distance_does_not_see_the_rest(distance):
    a = torch.rand(1, 1, 48, 48)
    b = a.clone()
    b[..., :, 30:] = 0
    mask = torch.zeros(1, 1, 48, 48, dtype=torch.bool)
    mask[..., :24] = True  # an SSIM window and more away from the change
    assert distance(a, b, mask).item() == pytest.approx(0, abs=1e-6)
    assert distance(a, b).item() > 0.01
    assert torch.isfinite(distance(a, b, torch.zeros_like(mask)))


def test_ssim_is_that_of_skimage_away_from_the_border():
    a, b = torch.rand(2, 1, 1, 64, 64)
    b = 0.5 * a + 0.5 * b
    mask = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    mask[..., 5:-5, 5:-5] = True
    expected = structural_similarity(
        a[0, 0].numpy(),
        b[0, 0].numpy(),
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=1.0,
    )
    assert 1 - SSIM()(a, b, mask).item() == pytest.approx(float(expected), abs=1e-5)


def test_losses_vanish_for_a_perfect_fuser():
    perfect = step(transforms=[(Shift(), 3), (Rotate(), 3), (Reflect(), 3)])
    assert Sensing()(perfect).item() == pytest.approx(0, abs=1e-6)
    assert Equivariance()(perfect).item() == pytest.approx(0, abs=1e-6)


def test_equivariance_sees_a_fuser_that_depends_on_place():
    ramp = torch.linspace(0, 1, 32).expand(1, 1, 32, 32)

    def placed(sources):
        return (average(sources) + ramp) / 2

    broken = step(backbone=placed, transforms=[(Reflect(), 3)])
    assert Equivariance(L1())(broken).item() > 0.1


def test_masks_leave_the_made_up_borders_out():
    x = torch.ones(1, 1, 32, 32)

    def dark_is_wrong(sources):
        fused = average(sources)
        return torch.where(fused < 0.5, torch.ones_like(fused), fused)

    made = step({"a": x, "b": x}, dark_is_wrong, transforms=[(Rotate(), 3)])
    assert Equivariance(L1())(made).item() > 0.01
    made = step({"a": x, "b": x}, dark_is_wrong, transforms=[(Rotate(), 3)])
    assert Equivariance(L1(), masked=True)(made).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("identity", [False, True])
def test_sampled_elements_make_a_smaller_stack(masked, identity):
    seen = []

    def backbone(sources):
        seen.append(next(iter(sources.values())).shape[0])
        return average(sources)

    loss = Equivariance(elements=2, identity=identity, masked=masked)
    value = loss(step(backbone=backbone, transforms=[(Shift(), 3), (Rotate(), 3), (Reflect(), 3)]))
    assert seen == [2, 6 if identity else 4]
    assert torch.isfinite(value)


def test_an_oblong_uses_the_symmetries_that_it_has():
    x = torch.rand(1, 1, 16, 24)
    seen = []

    def backbone(sources):
        seen.append(next(iter(sources.values())).shape[0])
        return average(sources)

    made = step({"infrared": x, "visible": x}, backbone, transforms=[(Dihedral(), 7)])
    assert Equivariance()(made).item() == pytest.approx(0, abs=1e-6)
    assert seen == [1, 4]


@pytest.mark.parametrize("detach", [False, True])
def test_a_detached_fused_image_gets_no_gradient_but_the_network_does(detach):
    gain = torch.tensor(0.9, requires_grad=True)
    whole = step(backbone=lambda sources: gain * average(sources), transforms=[(Reflect(), 3)])
    fused = whole.fused.detach().requires_grad_()
    given = replace(whole, fused=fused)
    loss = Equivariance(L1(), detach=detach)
    value = loss(given)
    assert value.item() == pytest.approx(Equivariance(L1())(given).item())
    value.backward()
    assert gain.grad is not None
    assert gain.grad.item() < 0  # a larger gain gives back more
    assert (fused.grad is None) == detach


def test_noise_comes_from_the_generator_and_keeps_gradients():
    values = [Sensing(noise=0.1)(step(seed=s)).item() for s in (1, 1, 2)]
    assert values[0] == values[1] != values[2]
    assert values[0] > 0.01
    x = torch.rand(1, 1, 32, 32).requires_grad_()
    Sensing(noise=0.1)(step({"infrared": x, "visible": x})).backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


def test_direct_needs_no_sensors():
    x, y = torch.rand(2, 1, 1, 32, 32)
    made = step({"infrared": x, "visible": y}, sensors={})
    fused = (x + y) / 2
    expected = L1()(fused, x) + L1()(fused, y)
    assert Sensing(L1(), direct=True)(made).item() == pytest.approx(expected.item())
    with pytest.raises(FusionkitError, match="no sensor for the modality 'infrared'"):
        Sensing()(made)


def test_a_sensor_looks_once_at_what_two_losses_ask_for():
    seen = []

    class Doubling(torch.nn.Module):
        def forward(self, x):
            seen.append(len(x))
            return 2 * x

    x = torch.rand(2, 1, 32, 32)
    sources = {"infrared": x.requires_grad_()}
    values, gradients = [], []
    for shared in (True, False):
        both = step(sources, sensors={"infrared": Doubling()}, transforms=[(Reflect(), 3)])
        sensing = Sensing()(both)
        if not shared:
            both = step(sources, sensors={"infrared": Doubling()}, transforms=[(Reflect(), 3)])
        total = sensing + Equivariance()(both)
        values.append(total.item())
        gradients.append(torch.autograd.grad(total, x)[0])
    assert sum(seen) == 2 * 4 + 2 * 5
    assert values[0] == pytest.approx(values[1], rel=1e-6)
    torch.testing.assert_close(*gradients)
