"""Every number that the official code gave: forward passes, losses, transforms, gradients."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from fusionkit.interfaces import FusionStep
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


def test_ufuser_fuses_as_the_official_one(official, formula, ufuser):
    ufuser.eval()
    cases = list(sizes_in(official, "ufuser"))
    assert len(cases) == 3
    for key, b, h, w in cases:
        sources = {
            "visible": formula.image(b, 1, h, w, 0.9),  # the order in the mapping must not matter
            "infrared": formula.image(b, 1, h, w, 0.0),
        }
        with torch.no_grad():
            fused = ufuser(sources)
        np.testing.assert_allclose(fused.numpy(), official[key], atol=1e-5, rtol=0)


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


class _TheseShifts:
    """The shifts that the fixture was made with, in place of drawn ones."""

    def sample(self, count, size, generator):
        return [Shifted(5, -9), Shifted(-17, 3), Shifted(20, 11)][:count]


def test_objective_and_its_gradients(official, official_names, formula, ufuser, sensors):
    ufuser.train().zero_grad()
    sources = {
        "infrared": formula.image(1, 1, 64, 64, 0.2),
        "visible": formula.image(1, 1, 64, 64, 1.1),
    }
    step = FusionStep(
        sources,
        ufuser(sources),
        ufuser,
        sensors,
        [(_TheseShifts(), 3), (Rotate(), 3), (Reflect(), 3)],
        torch.Generator().manual_seed(0),
    )
    v, i, equivariance, total = (float(x) for x in official["emma_terms_v_i_equiv_total"])
    distance = L1Sobel()
    seen = {m: distance(sensors[m](step.fused), sources[m]).item() for m in sources}
    assert seen["visible"] == pytest.approx(v, rel=1e-4)
    assert seen["infrared"] == pytest.approx(i, rel=1e-4)
    sensing, commuting = Sensing()(step), Equivariance()(step)
    assert sensing.item() == pytest.approx(v + i, rel=1e-4)
    assert commuting.item() == pytest.approx(equivariance, rel=1e-4)
    objective = sensing + 0.1 * commuting
    assert objective.item() == pytest.approx(total, rel=1e-4)
    objective.backward()
    expected = official_names["emma_grad_norms"]
    found = {name: p.grad.norm().item() for name, p in ufuser.named_parameters()}
    assert set(found) == set(expected)
    scale = max(expected.values())
    for name, norm in expected.items():
        # Norms span ten orders of magnitude; the smallest are rounding of the largest.
        assert found[name] == pytest.approx(norm, rel=1e-4, abs=1e-7 * scale), name


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
    assert seen == [2 * int(official["emma_ft_count"])] * 2
