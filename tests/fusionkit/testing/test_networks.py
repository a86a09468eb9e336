"""The checks of backbones find each spoiled one, and say it in a sentence."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fusionkit.interfaces import (
    Backbone,
)


class Good(Backbone):
    """A weight for every pixel of every source."""

    name = "good"
    stride = 4

    def __init__(self, width: int = 2):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.Conv2d(width, 1, 1))

    def forward(self, sources):
        weights = [self.layers(image) for image in sources.values()]
        stack = torch.stack(list(sources.values()))
        return (torch.stack(weights).softmax(dim=0) * stack).sum(dim=0)


def test_a_good_backbone_passes_all(failures):
    assert failures(Good) == {}


class Undocumented(Good):
    name = "undocumented"


class Halved(Good):
    """Loses every second row."""

    name = "halved"

    def forward(self, sources):
        return super().forward(sources)[..., ::2, :]


class Batched(Good):
    """Normalizes over the batch even in eval mode."""

    name = "batched"

    def forward(self, sources):
        return (super().forward(sources) / next(iter(sources.values())).mean()).clamp(0, 1)


class Noisy(Good):
    """Draws noise in eval mode."""

    name = "noisy"

    def forward(self, sources):
        fused = super().forward(sources)
        return (fused + 0.1 * torch.rand_like(fused)).clamp(0, 1)


class InPlace(Good):
    """Writes into its first source."""

    name = "in-place"

    def forward(self, sources):
        next(iter(sources.values())).data.mul_(0.5)
        return super().forward(sources)


class Unused(Good):
    """Has a layer that it never calls."""

    name = "unused"

    def __init__(self):
        super().__init__()
        self.spare = nn.Linear(2, 2)


class Wild(Good):
    """Gives values of any size."""

    name = "wild"

    def forward(self, sources):
        return 10 * super().forward(sources)


class BadStride(Good):
    """Pools by 8 and says 4."""

    name = "bad-stride"

    def forward(self, sources):
        fused = nn.functional.avg_pool2d(super().forward(sources), 8)
        return nn.functional.interpolate(fused, scale_factor=8)


class Unsaved(Good):
    """Keeps a random number that no file has."""

    name = "unsaved"

    def __init__(self):
        super().__init__()
        self.gain = float(torch.rand(()))

    def forward(self, sources):
        return self.gain * super().forward(sources)


class SingleOnly(Good):
    """Works in float32 alone."""

    name = "single-only"

    def forward(self, sources):
        return super().forward({k: v.float() for k, v in sources.items()})


class Rooted(Good):
    """Takes the root of a contrast, which may be zero."""

    name = "rooted"

    def forward(self, sources):
        fused = super().forward(sources)
        return (fused - fused.mean(dim=(2, 3), keepdim=True)).square().sqrt() + 0 * fused


class Local(Good):
    """Keeps a lambda."""

    name = "local"

    def __init__(self):
        super().__init__()
        self.activation = lambda x: x


class Hasty(Good):
    """Has a faster form that leaves the second layer out."""

    name = "hasty"

    def inference_form(self):
        return HastyForm(self)


class HastyForm(Good):
    name = "hasty"

    def __init__(self, plain):
        super().__init__()
        self.layers = plain.layers[:1]

    def forward(self, sources):
        return super().forward(sources).mean(dim=1, keepdim=True)


@pytest.mark.parametrize(
    ("cls", "check", "sentence"),
    [
        (Undocumented, "docstring", "has no docstring of its own"),
        (Halved, "shapes", "gave (2, 1, 32, 68); expected the same shape"),
        (Batched, "batch_independence", "alone and in a batch of two"),
        (Noisy, "determinism", "in eval mode it draws random numbers"),
        (InPlace, "inputs", "it changes the source 'infrared' in place"),
        (Unused, "gradients", "no gradient reaches spare.weight"),
        (Wild, "shapes", "end with a sigmoid"),
        (BadStride, "shapes", "expected the same shape"),
        (Unsaved, "round_trip", "a buffer or argument is not saved"),
        (SingleOnly, "precision", ""),
        (Hasty, "inference_form", "in float64"),
        (Rooted, "flat_images", "a gradient that is not finite"),
        (Local, "pickling", "keep lambdas, open files"),
    ],
)
def test_a_spoiled_backbone_is_found(failures, cls, check, sentence):
    found = failures(cls)
    assert check in found
    assert sentence in found[check]
