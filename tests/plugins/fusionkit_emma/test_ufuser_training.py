"""The form of U-Fuser that trains: results and gradients of the plain one."""

from __future__ import annotations

import pytest
import torch

from fusionkit_emma.objective import freeze
from fusionkit_emma.ufuser import UFuser
from fusionkit_emma.unet import UNet


def result_and_gradients(module, network, sources):
    leaves = {name: image.clone().requires_grad_() for name, image in sources.items()}
    network.zero_grad()
    fused = module(leaves)
    (fused * torch.linspace(0, 1, fused.numel()).view_as(fused)).sum().backward()
    gradients = {name: weight.grad for name, weight in network.named_parameters()}
    return fused, gradients, {name: leaf.grad for name, leaf in leaves.items()}


@pytest.mark.parametrize(
    "arguments",
    [
        {"channels": (8, 16), "heads": 8},
        {"channels": (4, 8, 8), "heads": 2},
        {"channels": (6, 6), "heads": 1, "modalities": ("infrared", "visible", "depth")},
        {"channels": (8, 8), "branches": ("global",)},
        {"channels": (8, 8), "branches": ("local",)},
    ],
    ids=str,
)
def test_results_and_gradients_are_those_of_the_plain_form(arguments):
    torch.manual_seed(0)
    network = UFuser(**arguments).double().train()
    sources = {name: torch.rand(2, 1, 24, 16, dtype=torch.float64) for name in network.modalities}
    expected, weights, images = result_and_gradients(network, network, sources)
    fused, our_weights, our_images = result_and_gradients(network.training_form(), network, sources)
    torch.testing.assert_close(fused, expected, rtol=0, atol=1e-12)
    for found, other in ((our_weights, weights), (our_images, images)):
        for name, gradient in other.items():
            ours = found[name]
            assert ours is not None, name  # or the optimizer would leave the weight out
            assert gradient is not None, name
            scale = max(float(gradient.norm()), 1e-6)
            assert float((ours - gradient).norm()) <= 1e-8 * scale, name


def test_the_form_trains_the_network_itself():
    network = UFuser(channels=(8, 8))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    form = network.training_form()
    optimizer = torch.optim.SGD(form.parameters(), 0.1)
    form({name: torch.rand(1, 1, 16, 16) for name in network.modalities}).sum().backward()
    optimizer.step()
    assert before.keys() == network.state_dict().keys()
    assert not torch.equal(before["last.0.weight"], network.state_dict()["last.0.weight"])


def test_a_frozen_sensor_senses_the_same_and_passes_gradients():
    torch.manual_seed(0)
    sensor = UNet(width=2).double()
    with torch.no_grad():
        for _ in range(5):
            sensor(torch.rand(2, 1, 32, 32, dtype=torch.float64))
    frozen = freeze(sensor)
    sensor.eval()
    x = torch.rand(2, 1, 32, 32, dtype=torch.float64, requires_grad=True)
    gradients = []
    for network in (sensor, frozen):
        sensed = network(x)
        gradients += torch.autograd.grad(sensed.square().sum(), x)
    torch.testing.assert_close(frozen(x), sensor(x), rtol=0, atol=1e-12)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-8, atol=1e-12)
    assert all(weight.grad is None for weight in frozen.parameters())
