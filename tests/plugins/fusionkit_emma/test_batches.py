"""What batches are made of: crops, reflections, mixtures, and who deals them out."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

import fusionkit as fk
from fusionkit.errors import FusionkitError
from fusionkit.interfaces import BatchShare, Sample
from fusionkit.runs.seeds import StageSeeds
from fusionkit_emma.batches import Batches, random_crops, random_dihedral, random_mixtures
from fusionkit_emma.losses import add_noise


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_crops_are_windows_of_all_channels_alike():
    x = torch.arange(2 * 3 * 20 * 24, dtype=torch.float32).view(2, 3, 20, 24)
    cut = random_crops(x, 16, seeded())
    assert cut.shape == (2, 3, 16, 16)
    step = 20 * 24
    assert torch.equal(cut[:, 1], cut[:, 0] + step)
    assert torch.equal(cut[:, 0, 1:, :] - cut[:, 0, :-1, :], torch.full((2, 15, 16), 24.0))
    with pytest.raises(FusionkitError, match="crop: the patches have 20x24 pixels"):
        random_crops(x, 32, seeded())


def test_all_eight_elements_of_the_dihedral_group_turn_up():
    x = torch.arange(4.0).view(1, 1, 2, 2).repeat(200, 1, 1, 1)
    seen = {tuple(image.flatten().tolist()) for image in random_dihedral(x, seeded())}
    assert len(seen) == 8
    oblong = random_dihedral(torch.rand(50, 2, 4, 6), seeded())
    assert oblong.shape == (50, 2, 4, 6)


def test_mixtures_lie_between_the_sources_and_show_all_of_them():
    x = torch.stack([torch.zeros(64, 32, 32), torch.ones(64, 32, 32)], dim=1)
    mixed = random_mixtures(x, seeded())
    assert mixed.shape == (64, 1, 32, 32)
    assert -1e-5 <= mixed.min() < 0.05
    assert 0.95 < mixed.max() <= 1 + 1e-5
    assert mixed.mean().item() == pytest.approx(0.5, abs=0.05)


def dealt(rank: int, processes: int, teachers: tuple[str, ...], batch_size: int = 4) -> list:
    """The batches of two epochs that one of several processes gets of ten patches."""
    names = ("infrared", "visible")
    pixels = torch.rand(10, 2, 1, 24, 24, generator=seeded())
    patches = [
        Sample(str(number), dict(zip(names, pair, strict=True)))
        for number, pair in enumerate(pixels)
    ]
    run = SimpleNamespace(
        components=SimpleNamespace(patches=patches, prefetch=lambda order: None),
        config=SimpleNamespace(modalities=names, teacher="list" if teachers else "self"),
        seeds=StageSeeds(0, "0-train", rank),
        fabric=SimpleNamespace(world_size=processes, global_rank=rank, device=torch.device("cpu")),
    )
    backbones = [fk.build("backbone", name=name) for name in teachers]
    batches = Batches(run, batch_size, backbones, crop=16, augment=True, blend=len(teachers) > 2)
    found = [batch for epoch in range(2) for batch in batches.epoch(epoch)]
    assert len(found) == 2 * len(batches)
    return found


@pytest.mark.parametrize("teachers", [(), ("average", "max"), ("average", "max", "saliency")])
def test_processes_share_the_batches_of_one(teachers):
    whole = dealt(0, 1, teachers)
    first, second = dealt(0, 2, teachers), dealt(1, 2, teachers)
    assert len(whole) == len(first) == len(second) == 4
    for all_, even, odd in zip(whole, first, second, strict=True):
        assert (all_.ids[::2], all_.ids[1::2]) == (even.ids, odd.ids)
        for name, images in all_.sources.items():
            assert torch.equal(images[::2], even.sources[name])
            assert torch.equal(images[1::2], odd.sources[name])
        torch.testing.assert_close(all_.teacher[::2], even.teacher)
        torch.testing.assert_close(all_.teacher[1::2], odd.teacher)


def test_noise_is_shared_too():
    x = torch.zeros(3 * 4, 1, 5, 5)  # three batches of four images
    whole = add_noise(x, 0.1, seeded(), batches=3).view(3, 4, 1, 5, 5)
    for rank in range(2):
        share = add_noise(x[:6], 0.1, seeded(), BatchShare(rank, 2), batches=3)
        assert torch.equal(share.view(3, 2, 1, 5, 5), whole[:, rank::2])


@pytest.mark.parametrize(("batch_size", "processes"), [(3, 2), (24, 12)])
def test_batches_that_can_not_be_shared_equally_are_refused(batch_size, processes):
    with pytest.raises(FusionkitError, match="batch_size"):
        dealt(0, processes, (), batch_size)
