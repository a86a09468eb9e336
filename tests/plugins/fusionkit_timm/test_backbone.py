"""Several kinds of encoders with every decoder, and encoders that do not work."""

from __future__ import annotations

import huggingface_hub.constants
import pytest
import timm
import torch

from fusionkit.errors import FusionkitError
from fusionkit.interfaces import Sample
from fusionkit.registry.arguments import make_spec
from fusionkit.registry.components import Registry
from fusionkit.registry.weights import load_weights, save_weights
from fusionkit_timm.backbone import TimmUNet
from fusionkit_timm.encoder import Encoder

ENCODERS = {
    "resnet18": 32,
    "mobilenetv3_small_050": 32,
    "convnext_atto": 32,
    "swin_tiny_patch4_window7_224": 32,  # channels last
    "test_mambaout": 32,  # channels last
    "test_vit": 16,  # three maps of one size
    "convmixer_768_32": 7,
}


def sources(h=64, w=96, batch=2, names=("infrared", "visible")):
    generator = torch.Generator().manual_seed(0)
    return {name: torch.rand(batch, 1, h, w, generator=generator) for name in names}


def small(**arguments):
    torch.manual_seed(0)
    return TimmUNet(**{"encoder": "test_resnet", "width": 8, **arguments})


@pytest.fixture
def registry():
    registry = Registry()
    registry.add(TimmUNet, "fusionkit-timm")
    return registry


def built(registry, **arguments):
    spec = make_spec(registry, "backbone", "timm-unet", {"encoder": "test_resnet", **arguments})
    return registry.build(spec, ("infrared", "visible"))


@pytest.mark.parametrize("encoder", ENCODERS)
def test_gradients_reach_all_weights_and_sources(encoder):
    network = small(encoder=encoder, shared=True)
    assert network.stride == ENCODERS[encoder]
    given = {
        k: x.requires_grad_() for k, x in sources(2 * network.stride, 3 * network.stride).items()
    }
    fused = network(given)
    assert fused.shape == (2, 1, 2 * network.stride, 3 * network.stride)
    assert 0 <= fused.min() < fused.max() <= 1
    (fused - 0.3).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert all(image.grad.abs().sum() > 0 for image in given.values())


@pytest.mark.parametrize("encoder", ENCODERS)
def test_maps_have_the_documented_channels_and_sizes(encoder):
    network = Encoder(encoder, pretrained=False).eval()
    h, w = 4 * network.stride, 2 * network.stride
    maps = network(torch.rand(1, 1, h, w))
    expected = [
        (1, c, h // reduction, w // reduction)
        for c, reduction in zip(network.channels, network.reductions, strict=True)
    ]
    assert [tuple(x.shape) for x in maps] == expected
    assert max(network.reductions) == network.stride


def test_channels_last_is_detected_even_if_all_axes_are_equal():
    """The first map of Swin-T at 384 x 384 is 96 x 96 x 96, so its shape does not tell."""
    network = Encoder("swin_tiny_patch4_window7_224", pretrained=False).eval()
    image = torch.rand(1, 1, 384, 384, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        raw = network.body((image - network.mean) / network.std)[0]
        assert raw.shape == (1, 96, 96, 96)
        assert torch.equal(network(image)[0], raw.movedim(-1, 1))


@pytest.mark.parametrize("decoder", ["unet", "fpn", "sum"])
@pytest.mark.parametrize("fusion", ["concat", "max", "mean"])
@pytest.mark.parametrize("shared", [True, False])
def test_every_combination_learns_a_target(decoder, fusion, shared):
    """A few training steps reduce the distance to the target."""
    network = small(decoder=decoder, fusion=fusion, shared=shared).train()
    given = sources(64, 64)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    distances = []
    for _ in range(12):
        distance = (network(given) - given["visible"]).abs().mean()
        optimizer.zero_grad()
        distance.backward()
        optimizer.step()
        distances.append(distance.item())
    assert distances[-1] < 0.9 * distances[0]


def test_decoders_differ_in_their_numbers_of_weights():
    counts = {
        decoder: sum(p.numel() for p in small(decoder=decoder).decoder.parameters())
        for decoder in ("unet", "fpn", "sum")
    }
    assert counts["unet"] > 2 * counts["fpn"]
    assert counts["fpn"] > 2 * counts["sum"]


def test_max_and_mean_of_a_shared_encoder_ignore_the_order_of_the_sources():
    given = sources()
    swapped = dict(zip(given, reversed(given.values()), strict=True))
    for fusion, alike in (("max", True), ("mean", True), ("concat", False)):
        network = small(shared=True, fusion=fusion).eval()
        with torch.no_grad():
            assert torch.allclose(network(given), network(swapped), atol=1e-6) == alike


def test_pairs_are_fused_independently_in_eval_mode():
    network = small().eval()
    given = sources()
    with torch.no_grad():
        both = network(given)
        alone = network({name: image[1:] for name, image in given.items()})
    assert torch.allclose(both[1:], alone, atol=1e-5)


def test_three_modalities_of_odd_size_are_fused():
    network = small(modalities=("mri", "pet", "a.b"))
    sample = Sample("odd", {name: torch.rand(1, 67, 83) for name in network.modalities})
    assert network.eval().fuse(sample).shape == (1, 67, 83)
    with pytest.raises(FusionkitError, match=r"missing: pet, a\.b"):
        network({"mri": torch.rand(1, 1, 64, 64)})
    with pytest.raises(FusionkitError, match=r"modalities.*mri.*mri"):
        small(modalities=("mri", "mri"))


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        ("resnet_18", "'resnet_18'.*'resnet18'"),
        ("resnet18.imagenet22k", "'resnet18.imagenet22k': Invalid pretrained tag"),
        ("beit_base_patch16_224", "'beit_base_patch16_224'.*one size"),
    ],
)
def test_unusable_encoders_raise(encoder, message):
    with pytest.raises(FusionkitError, match=message):
        small(encoder=encoder)


def test_missing_pretrained_weights_raise_an_error_of_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(FusionkitError, match="set pretrained: false") as caught:
        small(encoder="resnet18.a1_in1k", pretrained=True)
    assert "'resnet18.a1_in1k'" in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(FusionkitError, match="No pretrained weights exist"):
        small(encoder="coatnet_0_224", pretrained=True)


def test_pretrained_weights_reach_every_encoder_and_loading_a_file_downloads_nothing(
    tmp_path, monkeypatch, registry
):
    colour = timm.create_model("test_resnet")
    torch.save(colour.state_dict(), tmp_path / "timm.pth")
    create = timm.create_model
    downloads = []

    def with_file(name, pretrained, **arguments):
        downloads.append(pretrained)
        overlay = {"file": str(tmp_path / "timm.pth")}
        return create(name, pretrained, pretrained_cfg_overlay=overlay, **arguments)

    monkeypatch.setattr(timm, "create_model", with_file)
    network = built(registry, pretrained=True)
    assert True in downloads
    first = next(p for p in colour.parameters() if p.ndim == 4)
    for encoder in network.encoders:
        own = next(p for p in encoder.body.parameters() if p.ndim == 4)
        assert torch.allclose(own, first.sum(dim=1, keepdim=True), atol=1e-6)
    save_weights(network, tmp_path / "backbone.safetensors")
    downloads.clear()
    again = load_weights(tmp_path / "backbone.safetensors", registry)
    assert downloads
    assert True not in downloads
    with torch.no_grad():
        assert torch.equal(again(sources()), network.eval()(sources()))


def test_building_is_reproducible_and_leaves_running_statistics_alone():
    one, other = small(), small()
    for (key, a), b in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b), key
        if key.endswith("num_batches_tracked"):
            assert a == 0
    assert all(module.training for module in one.modules())
