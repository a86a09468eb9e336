"""What batches are made of: crops, reflections, mixtures, and who deals them out."""

from __future__ import annotations

import pytest
import torch

from fusionkit.errors import FusionkitError
from fusionkit_emma.batches import random_crops, random_dihedral, random_mixtures


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
