"""U-Fuser and the U-Net beyond the official sizes."""

from __future__ import annotations

import pytest
import torch

from fusionkit.errors import FusionkitError
from fusionkit_emma.ufuser import UFuser
from fusionkit_emma.unet import UNet


def pair(size=16, names=("infrared", "visible")):
    generator = torch.Generator().manual_seed(1)
    return {name: torch.rand(2, 1, size, size, generator=generator) for name in names}


def test_three_modalities_have_an_encoder_each():
    names = ("visible", "thermal", "nir")
    network = UFuser(names, channels=(4, 8), heads=4)
    assert network.stride == 2
    sources = pair(names=names)
    fused = network(sources)
    assert fused.shape == (2, 1, 16, 16)
    fused.mean().backward()
    for letter in ("I", "V", "S3"):
        grad = network.get_parameter(f"{letter}_en_1.embed.weight").grad
        assert grad is not None
        assert grad.abs().sum() > 0


def test_sources_are_told_apart_by_name_not_by_order():
    network = UFuser(channels=(4, 8), heads=4).eval()
    sources = pair()
    backwards = dict(reversed(sources.items()))
    assert torch.equal(network(sources), network(backwards))
    swapped = {"infrared": sources["visible"], "visible": sources["infrared"]}
    assert not torch.allclose(network(sources), network(swapped))


def test_missing_modality_is_named():
    with pytest.raises(FusionkitError, match=r"ufuser.*missing: visible"):
        UFuser(channels=(4, 8), heads=4)({"infrared": torch.rand(1, 1, 8, 8)})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channels": (8, 12)}, "multiple of heads=8, found 12"),
        ({"modalities": ("a",)}, "two or more different modalities"),
        ({"modalities": ("a", "a")}, "two or more different modalities"),
        ({"branches": ("global", "lokal")}, "found 'lokal'"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(FusionkitError, match=message):
        UFuser(**arguments)


def test_ablations_drop_a_branch():
    whole = UFuser(channels=(4, 8), heads=4)
    for branch, gone in (("global", "LocalFeature"), ("local", "GlobalFeature")):
        part = UFuser(channels=(4, 8), heads=4, branches=(branch,))
        assert not any(gone in name for name in part.state_dict())
        assert sum(p.numel() for p in part.parameters()) < sum(
            p.numel() for p in whole.parameters()
        )
        assert part(pair()).shape == (2, 1, 16, 16)


@pytest.mark.parametrize("branches", [("global", "local"), ("local",)])
@pytest.mark.parametrize("channels", [(8, 16, 32, 32), (4, 8)])
def test_exact_average_averages_from_black_to_white(channels, branches):
    levels = torch.linspace(0, 1, 11)[:, None, None, None].expand(-1, 1, 16, 16)
    for seed in range(3):
        torch.manual_seed(seed)
        network = UFuser(channels=channels, heads=4, branches=branches, init="exact-average").eval()
        with torch.no_grad():
            equal = network({"infrared": levels, "visible": levels})
            opposite = network({"infrared": levels, "visible": 1 - levels})
        assert float((equal - levels).abs().max()) < 0.05
        assert float((opposite - 0.5).abs().max()) < 0.05


def test_average_starts_grey_where_exact_average_is_white():
    white = {name: torch.ones(1, 1, 16, 16) for name in ("infrared", "visible")}
    found = {}
    for init in ("random", "average", "exact-average"):
        torch.manual_seed(0)
        found[init] = UFuser(init=init).eval()(white).mean().item()
    assert found["exact-average"] > 0.96 > 0.95 > found["average"] > 0.7 > found["random"]


def test_attention_is_the_identity_with_one_channel_per_head():
    network = UFuser(channels=(8, 16), heads=8).eval()
    before = network(pair())
    with torch.no_grad():
        network.get_parameter("I_en_1.GlobalFeature.attn.scale").mul_(7)
    assert torch.equal(network(pair()), before)


def test_sensor_width_scales_the_official_network():
    narrow = UNet(width=4)
    assert narrow(torch.rand(1, 1, 32, 48)).shape == (1, 1, 32, 48)
    shapes = {name: t.shape for name, t in narrow.state_dict().items()}
    wide = {name: t.shape for name, t in UNet(width=8).state_dict().items()}
    assert shapes.keys() == wide.keys()
    assert wide["down5.conv.0.weight"] == (128, 64, 3, 3)
