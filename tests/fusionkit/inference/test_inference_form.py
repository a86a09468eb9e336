"""Networks with a faster form for inference."""

from __future__ import annotations

import copy
import io
import logging
import pickle

import pytest
import torch
from torch import nn

import fusionkit as fk
from fusionkit.inference.inference_form import fold_batch_norms, inference_form
from fusionkit.inference.onnx_export import export_onnx
from fusionkit.interfaces import Backbone, Sample, Sensor
from fusionkit.registry.weights import save_weights


class Doubling(Backbone):
    """(w / 2) * (a + b); its faster form adds first, and counts its calls."""

    name = "doubling"
    stride = 4
    modalities = ("infrared", "visible")
    off = 0.0

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.5))

    def forward(self, sources):
        return self.weight * sources["infrared"] + self.weight * sources["visible"]

    def inference_form(self):
        return Added(self.weight.detach().clone() + self.off)


class Added(Backbone):
    name = "doubling"
    stride = 4
    modalities = ("infrared", "visible")

    def __init__(self, weight):
        super().__init__()
        self.register_buffer("factor", weight)
        self.calls = 0

    def forward(self, sources):
        self.calls += 1
        return self.factor * (sources["infrared"] + sources["visible"])


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    return {name: torch.rand(1, 1, 20, 24, generator=generator) for name in Doubling.modalities}


def test_it_infers_by_the_faster_form_and_trains_as_itself(pair):
    plain = Doubling().eval()
    network = inference_form(plain)
    with torch.no_grad():
        torch.testing.assert_close(network(pair), plain(pair))
    assert network.fast.calls == 1
    network(pair).sum().backward()
    assert network.fast.calls == 1
    assert plain.weight.grad is not None
    sample = Sample("one", {name: image[0, :, :17, :21] for name, image in pair.items()})
    torch.testing.assert_close(network.fuse(sample), plain.fuse(sample))
    assert network.fast.calls == 2


def test_after_training_the_faster_form_has_the_new_weights(pair):
    network = inference_form(Doubling().eval()).train()
    with torch.no_grad():
        network.exact_form().weight.fill_(0.25)
        expected = network(pair)
        torch.testing.assert_close(network.eval()(pair), expected)
    assert network.fast.calls == 1
    network.load_state_dict({"weight": torch.tensor(0.125)})
    with torch.no_grad():
        torch.testing.assert_close(network(pair), expected / 2)


def test_its_state_dict_is_that_of_the_plain_network():
    network = inference_form(Doubling().eval())
    assert list(network.state_dict()) == ["weight"]
    assert list(nn.Sequential(network).state_dict()) == ["0.weight"]


@pytest.mark.parametrize("again", [copy.deepcopy, lambda n: pickle.loads(pickle.dumps(n))])
def test_copies_and_pickles_work_alike(pair, again):
    network = inference_form(Doubling().eval())
    with torch.no_grad():
        assert torch.equal(again(network)(pair), network(pair))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_it_changes_its_type_as_a_whole(pair, dtype):
    network = inference_form(Doubling().eval()).to(dtype)
    with torch.no_grad():
        fused = network({name: image.to(dtype) for name, image in pair.items()})
    assert fused.dtype == dtype


def test_a_form_with_other_results_is_not_used(caplog):
    plain = Doubling().eval()
    plain.off = 1e-5
    with caplog.at_level(logging.WARNING, "fusionkit"):
        assert inference_form(plain) is plain
    assert "doubling" in caplog.text


def test_a_form_that_fails_is_not_used(caplog, monkeypatch):
    def fail(self):
        raise ValueError("no such layer")

    monkeypatch.setattr(Doubling, "inference_form", fail)
    plain = Doubling().eval()
    with caplog.at_level(logging.WARNING, "fusionkit"):
        assert inference_form(plain) is plain
    assert "no such layer" in caplog.text


def test_networks_without_a_faster_form_are_left_alone():
    average = fk.build("backbone", name="average").eval()
    assert inference_form(average) is average


def test_a_network_that_is_one_already_is_not_wrapped_twice():
    network = inference_form(Doubling().eval())
    assert inference_form(network).exact_form() is network.exact_form()


def test_saving_saves_the_exact_form(tmp_path):
    plain = fk.build("sensor", name="unet", width=4).eval()
    save_weights(plain, tmp_path / "plain.safetensors")
    save_weights(inference_form(plain), tmp_path / "fast.safetensors")
    first, second = (tmp_path / f"{name}.safetensors" for name in ("plain", "fast"))
    assert len(first.read_bytes()) == len(second.read_bytes())
    from safetensors.torch import load_file

    expected, found = load_file(first), load_file(second)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[key], found[key]) for key in expected)


def test_batch_norms_are_folded():
    torch.manual_seed(0)
    block = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Sequential(nn.Conv2d(4, 3, 1), nn.BatchNorm2d(3)),
        nn.BatchNorm2d(3),
    ).double()
    x = torch.rand(8, 2, 9, 7, dtype=torch.float64, requires_grad=True)
    for _ in range(3):
        block(x)  # statistics
    block.eval()
    folded = fold_batch_norms(block)
    assert [type(part) for part in folded] == [
        nn.Conv2d,
        nn.Identity,
        nn.ReLU,
        nn.Sequential,
        nn.BatchNorm2d,  # no convolution stands directly before it
    ]
    torch.testing.assert_close(folded(x), block(x), rtol=0, atol=1e-12)
    folded(x).sum().backward()
    assert x.grad is not None
    assert all(p.grad is None for p in folded.parameters())


def test_sensors_fold_their_batch_norms():
    torch.manual_seed(0)
    sensor = fk.build("sensor", name="unet", width=4)
    for _ in range(3):
        sensor(torch.rand(4, 1, 32, 32))
    sensor.eval()
    fast = inference_form(sensor)
    assert isinstance(fast, Sensor)
    assert fast is not sensor
    assert not any(isinstance(part, nn.BatchNorm2d) for part in fast.fast.modules())
    x = torch.rand(2, 1, 32, 48)
    with torch.no_grad():
        torch.testing.assert_close(fast(x), sensor(x), rtol=0, atol=2e-6)


def test_a_state_dict_of_torch_save_round_trips():
    network, buffer = inference_form(Doubling().eval()), io.BytesIO()
    torch.save(network.state_dict(), buffer)
    buffer.seek(0)
    network.load_state_dict(torch.load(buffer, weights_only=True))


def test_the_exact_form_is_exported(tmp_path, pair):
    pytest.importorskip("onnxruntime")
    network = inference_form(Doubling().eval())
    assert export_onnx(network, tmp_path / "x.onnx") == ("infrared", "visible")
    assert network.fast.calls == 1  # for the comparison alone
