"""The faster form of U-Fuser against the plain one, in double precision unless said otherwise."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

import fusionkit as fk
import fusionkit_emma.strips
from fusionkit.inference.inference_form import inference_form
from fusionkit.interfaces import Sample
from fusionkit_emma.ufuser import UFuser


def make_network(**arguments):
    """Return a network whose norms, scales and biases are not those of a fresh one."""
    torch.manual_seed(0)
    network = UFuser(**arguments).double().eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "body" in name or "scale" in name:
                parameter.add_(0.4 * torch.randn_like(parameter))
    return network


def make_pair(network, batch=1, height=48, width=64, dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    shape = (batch, 1, height, width)
    return {m: torch.rand(shape, generator=generator, dtype=dtype) for m in network.modalities}


def gap(network, other, pair):
    with torch.no_grad():
        return float((network(pair) - other(pair)).abs().max())


@pytest.fixture(params=["one strip", "many strips"])
def strips(request, monkeypatch):
    if request.param == "many strips":
        monkeypatch.setattr(fusionkit_emma.strips, "STRIP_BYTES", {"cpu": 1})
        monkeypatch.setattr(fusionkit_emma.strips, "LEAST_ROWS", 4)


SETTINGS = {
    "official": {},
    "several channels per head": {"channels": (4, 8), "heads": 2},
    "one head": {"channels": (3, 5), "heads": 1},
    "one channel": {"channels": (1, 2), "heads": 1},
    "global alone": {"channels": (4, 8), "heads": 4, "branches": ("global",)},
    "local alone": {"channels": (4, 8), "heads": 4, "branches": ("local",)},
    "three modalities": {"modalities": ("a", "b", "c"), "channels": (4, 8), "heads": 4},
    "average": {"init": "exact-average"},
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_it_gives_the_results_of_the_plain_form(setting, strips):
    network = make_network(**SETTINGS[setting])
    fast = network.inference_form()
    for batch, height, width in ((1, 48, 64), (2, 24, 16), (1, 16, 16)):
        assert gap(network, fast, make_pair(network, batch, height, width)) < 1e-12


@pytest.mark.parametrize("model", ["emma-ir-vis", "emma-medical"])
def test_packaged_weights(model):
    exact, fast = fk.load(model, exact=True), fk.load(model)
    assert isinstance(exact, UFuser)
    assert fast.exact_form().state_dict().keys() == exact.state_dict().keys()
    pair = make_pair(exact, 2, 56, 72, torch.float32)
    sample = Sample("odd", {m: image[0, :, :53, :71] for m, image in pair.items()})
    assert gap(exact, fast, pair) < 1e-5
    assert float((exact.fuse(sample) - fast.fuse(sample)).abs().max()) < 1e-5
    doubled = {m: image.double() for m, image in pair.items()}
    assert (
        gap(copy.deepcopy(exact).double(), copy.deepcopy(exact).double().inference_form(), doubled)
        < 1e-10
    )


def test_real_borders_and_flat_images(strips):
    network = make_network()
    fast = network.inference_form()
    for level in (0.0, 1.0):
        pair = {m: torch.full_like(x, level) for m, x in make_pair(network).items()}
        assert gap(network, fast, pair) < 1e-9  # normalisation amplifies rounding where all is flat
    ramp = torch.linspace(0, 1, 48, dtype=torch.float64)[:, None].expand(1, 1, 48, 64)
    assert gap(network, fast, dict.fromkeys(network.modalities, ramp)) < 1e-12


def test_other_precisions():
    exact = fk.load("emma-ir-vis", exact=True)
    pair = make_pair(exact, dtype=torch.float32)
    fast = exact.inference_form()
    with torch.no_grad():
        expected = exact(pair)
        for dtype, bound in ((torch.float64, 1e-5), (torch.bfloat16, 0.1)):
            fused = copy.deepcopy(fast).to(dtype)({m: x.to(dtype) for m, x in pair.items()})
            assert fused.dtype == dtype
            assert float((fused.float() - expected).abs().max()) < bound


def test_copies_and_pickles():
    network = inference_form(make_network(channels=(4, 8), heads=2))
    pair = make_pair(network)
    for other in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert gap(network, other, pair) == 0


def test_saved_it_is_the_exact_network(tmp_path):
    fk.save(fk.load("emma-ir-vis"), tmp_path / "again.safetensors")
    again = fk.load(tmp_path / "again.safetensors", exact=True).state_dict()
    for key, tensor in fk.load("emma-ir-vis", exact=True).state_dict().items():
        assert torch.equal(again[key], tensor)


def test_missing_weights_of_a_block_are_noticed(caplog, monkeypatch):
    """A form that forgets the shift of a norm is not used."""
    network = make_network(channels=(4, 8), heads=2)
    original = UFuser.inference_form

    def forget(self):
        fast = original(self)
        fast.blocks["f_1"].attention.gate_bias.zero_()
        return fast

    monkeypatch.setattr(UFuser, "inference_form", forget)
    assert inference_form(network) is network
    assert "ufuser" in caplog.text


def test_fixed_statistics_of_the_image_itself_change_nothing(strips):
    network = make_network(channels=(4, 8), heads=2)
    pair = make_pair(network)
    fixed = network.with_statistics_of(pair)
    assert gap(network, fixed, pair) < 1e-12
    other = {m: x**2 for m, x in pair.items()}
    assert gap(network, fixed, other) > 1e-6
    assert gap(network, fixed.with_statistics_of(other), other) < 1e-12


def test_no_statistics_are_taken_where_attention_does_not_depend_on_the_image():
    network = make_network(channels=(8, 8), heads=8).inference_form()
    assert network.with_statistics_of({}) is network


def test_with_fixed_statistics_distant_pixels_do_not_matter():
    """Parts of an image with a wide enough margin are the parts of the fused image."""
    network = make_network(channels=(4, 8), heads=2)
    pair = make_pair(network, height=160)
    with torch.no_grad():
        expected = network(pair)
        fixed = network.with_statistics_of(pair)
        part = fixed({m: x[:, :, :112] for m, x in pair.items()})
        assert torch.allclose(part[:, :, :64], expected[:, :, :64], rtol=0, atol=1e-12)
        alone = network({m: x[:, :, :112] for m, x in pair.items()})
        assert not torch.allclose(alone[:, :, :64], expected[:, :, :64], rtol=0, atol=1e-9)


def test_statistics_of_parts_are_pooled():
    """A batch of parts counts as one image: equal parts give the statistics of one of them."""
    network = make_network(channels=(4, 8), heads=2)
    pair = make_pair(network)
    twice = {m: torch.cat((x, x)) for m, x in pair.items()}
    assert gap(network.with_statistics_of(pair), network.with_statistics_of(twice), pair) < 1e-12
