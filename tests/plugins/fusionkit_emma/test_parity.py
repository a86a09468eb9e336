"""Numbers that the official code gave: forward passes, losses, transforms, gradients.

The closed-form weights make U-Fuser ill-conditioned: its layer normalisation divides by the spread
of eight channels that are nearly equal in some pixels. In single precision the official images are
themselves up to 1.6e-3 from the exact ones at 64 x 96 and up to 0.54 at 128 x 128, and the kernels
of other processors round in another way. So the tests compare twice: in double precision, where
the bounds are twice the official rounding, and in single precision, where the bounds are tight on
a processor that rounds as the fixtures' did and those of two roundings on any other.
"""

from __future__ import annotations

import copy
import math
import re

import numpy as np
import pytest
import torch

from fusionkit.interfaces import FusionStep, TransformGroup
from fusionkit_emma.distances import L1, L1Sobel
from fusionkit_emma.losses import Equivariance, Sensing
from fusionkit_emma.transforms import Reflect, Rotate, Shifted
from fusionkit_emma.ufuser import UFuser
from fusionkit_emma.unet import UNet


def sizes_in(official, prefix):
    for key in official:
        if match := re.fullmatch(prefix + r"_(\d+)x1x(\d+)x(\d+)", key):
            yield key, *(int(group) for group in match.groups())


@pytest.fixture(scope="module")
def ufuser(formula):
    network = UFuser()
    formula.fill(network.state_dict())
    return network


@pytest.fixture(scope="module")
def sensors(formula):
    networks = {"infrared": UNet(), "visible": UNet()}
    for salt, network in zip((0.1, 0.2), networks.values(), strict=True):
        formula.fill(network.state_dict(), salt)
        network.eval().requires_grad_(False)
    return networks


def test_state_dicts_have_the_official_names_and_shapes(official_names, ufuser, sensors):
    for network, key in ((ufuser, "ufuser"), (sensors["infrared"], "unet5")):
        shapes = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
        assert shapes == official_names[key]
    assert sum(p.numel() for p in ufuser.parameters()) == 1_517_657
    assert sum(p.numel() for p in sensors["visible"].parameters()) == 39_397_761


@pytest.fixture(scope="module")
def same_kernels(official, formula, sensors) -> bool:
    """Whether a sensor, which is well-conditioned, gives the official image to the last bit."""
    for key, b, h, w in sizes_in(official, "unet5"):
        with torch.no_grad():
            sensed = sensors["infrared"](formula.image(b, 1, h, w, 0.4))
        if not np.array_equal(sensed.numpy(), official[key]):
            return False
    return True


# Errors of the median pixel, of nine in ten pixels and of all pixels: twice the official rounding.
ROUNDING = {
    (2, 64, 64): (1.2e-5, 1e-4, 3e-3),
    (1, 64, 96): (1.2e-5, 1.1e-4, 3.2e-3),
    (1, 128, 128): (1.3e-3, 2.6e-2, 1.0),
}


def fused_and_official(official, formula, network, dtype):
    for key, b, h, w in sizes_in(official, "ufuser"):
        sources = {
            "visible": formula.image(b, 1, h, w, 0.9),  # the order in the mapping must not matter
            "infrared": formula.image(b, 1, h, w, 0.0),
        }
        with torch.no_grad():
            fused = network({name: image.to(dtype) for name, image in sources.items()})
        yield (b, h, w), fused.numpy(), official[key]


def assert_within_rounding(cases, times):
    cases = list(cases)
    assert [size for size, _, _ in cases] == list(ROUNDING)
    for size, fused, expected in cases:
        errors = np.quantile(np.abs(fused - expected), (0.5, 0.9, 1.0))
        assert (errors <= times * np.array(ROUNDING[size])).all(), (size, errors)


def test_ufuser_fuses_as_the_official_one(official, formula, ufuser, same_kernels):
    cases = list(fused_and_official(official, formula, ufuser.eval(), torch.float32))
    assert_within_rounding(cases, times=2)  # both sides are rounded
    if same_kernels:
        for _, fused, expected in cases:
            np.testing.assert_allclose(fused, expected, atol=1e-5, rtol=0)


def test_ufuser_in_double_precision_is_the_official_one_but_for_rounding(official, formula, ufuser):
    exact = copy.deepcopy(ufuser).double().eval()
    cases = fused_and_official(official, formula, exact, torch.float64)
    assert_within_rounding(cases, times=1)


def test_sensor_senses_as_the_official_one(official, formula, sensors):
    cases = list(sizes_in(official, "unet5"))
    assert len(cases) == 2
    for key, b, h, w in cases:
        with torch.no_grad():
            sensed = sensors["infrared"](formula.image(b, 1, h, w, 0.4))
        np.testing.assert_allclose(sensed.numpy(), official[key], atol=1e-5, rtol=0)


def test_distances(official, formula):
    a, b = formula.image(2, 1, 48, 64, 0.1), formula.image(2, 1, 48, 64, 0.7)
    assert L1Sobel()(a, b).item() == pytest.approx(float(official["loss_l1_plus_sobel"]), rel=1e-4)
    assert L1()(a, b).item() == pytest.approx(float(official["loss_l1"]), rel=1e-4)


def test_transforms(official, formula):
    x = formula.image(2, 1, 48, 64, 0.3)
    generator = torch.Generator().manual_seed(0)

    def stacked(group, count):
        return torch.cat([e.apply(x) for e in group.sample(count, (48, 64), generator)]).numpy()

    np.testing.assert_allclose(
        stacked(Rotate(), 3), official["rotate_n3_2x1x48x64"], atol=1e-5, rtol=0
    )
    first_of_five = stacked(Rotate(), 5)[:2]
    np.testing.assert_allclose(
        first_of_five, official["rotate_n5_first_2x1x48x64"], atol=1e-5, rtol=0
    )
    np.testing.assert_array_equal(stacked(Reflect(), 3), official["flip_n3_2x1x48x64"])
    shifted = Shifted(7, -5).apply(x).numpy()
    np.testing.assert_array_equal(shifted, official["shift_rows7_cols-5_2x1x48x64"])


class _TheseShifts(TransformGroup):
    """The shifts that the fixture was made with, in place of drawn ones."""

    name = "these-shifts"

    def sample(self, count, size, generator):
        return [Shifted(5, -9), Shifted(-17, 3), Shifted(20, 11)][:count]


def official_step(formula, ufuser, sensors, dtype=torch.float32):
    """The step that the official terms and gradients are of."""
    ufuser = copy.deepcopy(ufuser).to(dtype).train()
    sensors = {name: copy.deepcopy(sensor).to(dtype) for name, sensor in sensors.items()}
    sources = {
        "infrared": formula.image(1, 1, 64, 64, 0.2).to(dtype),
        "visible": formula.image(1, 1, 64, 64, 1.1).to(dtype),
    }
    groups = [(_TheseShifts(), 3), (Rotate(), 3), (Reflect(), 3)]
    generator = torch.Generator().manual_seed(0)
    return FusionStep(sources, ufuser(sources), ufuser, sensors, groups, generator)


def terms_and_gradient_norms(step):
    sensing, commuting = Sensing()(step), Equivariance()(step)
    total = sensing + 0.1 * commuting
    total.backward()
    norms = {name: p.grad.norm().item() for name, p in step.backbone.named_parameters()}
    return (sensing.item(), commuting.item(), total.item()), norms


def test_objective_in_double_precision(official, official_names, formula, ufuser, sensors):
    step = official_step(formula, ufuser, sensors, torch.float64)
    v, i = official["emma_terms_v_i_equiv_total"][:2].tolist()
    with torch.no_grad():
        for modality, expected in (("visible", v), ("infrared", i)):
            seen = step.sensors[modality](step.fused)
            distance = L1Sobel()(seen, step.sources[modality]).item()
            assert distance == pytest.approx(expected, rel=1e-4)
    assert_close_in_order(*terms_and_gradient_norms(step), official, official_names)


def assert_close_in_order(terms, norms, official, official_names):
    """Compare the terms to 1e-4, and the gradients as far as ill-conditioned weights allow."""
    v, i, equivariance, total = (float(x) for x in official["emma_terms_v_i_equiv_total"])
    assert terms == pytest.approx((v + i, equivariance, total), rel=1e-4)
    # Channels that are nearly equal make some official norms a tenth or ten times of the exact.
    expected = official_names["emma_grad_norms"]
    floor = 1e-7 * max(expected.values())
    off = [abs(math.log10((norms[name] + floor) / (n + floor))) for name, n in expected.items()]
    assert np.median(off) < 0.2
    assert max(off) < 1.2


def test_objective_and_its_gradients(
    official, official_names, formula, ufuser, sensors, same_kernels
):
    terms, norms = terms_and_gradient_norms(official_step(formula, ufuser, sensors))
    expected = official_names["emma_grad_norms"]
    assert set(norms) == set(expected)
    assert_close_in_order(terms, norms, official, official_names)
    if same_kernels:
        scale = max(expected.values())
        for name, norm in expected.items():
            # Norms span ten orders of magnitude; the smallest are rounding of the largest.
            assert norms[name] == pytest.approx(norm, rel=1e-4, abs=1e-7 * scale), name


def test_gradient_is_the_slope_of_the_objective():
    """A well-conditioned network, double precision: autograd against finite differences."""
    torch.manual_seed(0)
    network = UFuser(channels=(4, 8), heads=2).double()
    sensors = {name: UNet(width=2).double().eval() for name in ("infrared", "visible")}
    generator = torch.Generator().manual_seed(1)
    shape = (1, 1, 16, 16)
    sources = {m: torch.rand(shape, generator=generator, dtype=torch.float64) for m in sensors}

    def objective():
        groups = [(Rotate(), 3), (Reflect(), 3)]
        step = FusionStep(sources, network(sources), network, sensors, groups, generator)
        return Sensing()(step) + 0.1 * Equivariance()(step)

    objective().backward()
    parameters = list(network.parameters())
    direction = [torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in parameters]
    slope = sum((p.grad * d).sum().item() for p, d in zip(parameters, direction, strict=True))
    h, values = 1e-7, []  # small, as the kinks of |x| are dense
    for sign in (1, -2):
        with torch.no_grad():
            for p, d in zip(parameters, direction, strict=True):
                p.add_(sign * h * d)
            values.append(objective().item())
    assert slope == pytest.approx((values[0] - values[1]) / (2 * h), rel=1e-3)


def test_the_stack_holds_the_identity_and_all_elements(official, ufuser, sensors, formula):
    seen = []

    class Spy(torch.nn.Module):
        def forward(self, x):
            seen.append(x.shape[0])
            return x

    x = formula.image(2, 1, 32, 32)
    step = FusionStep(
        {"infrared": x, "visible": x},
        x,
        lambda sources: sources["visible"],
        {"infrared": Spy(), "visible": Spy()},
        [(_TheseShifts(), 3), (Rotate(), 3), (Reflect(), 3)],
        torch.Generator().manual_seed(0),
    )
    Equivariance()(step)
    # Of the batch of two itself, and of its transforms; for each modality.
    assert seen == [2, 2 * int(official["emma_ft_count"]) - 2] * 2
