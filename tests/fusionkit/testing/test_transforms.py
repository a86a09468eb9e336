"""The checks of transform groups find each spoiled one, and say it in a sentence."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from fusionkit.errors import FusionkitError
from fusionkit.interfaces import (
    TransformElement,
    TransformGroup,
)


class Turned(TransformElement):
    """A mirror image, spoiled as asked."""

    def __init__(self, fault: str):
        self.fault, self.exact = fault, True

    def apply(self, x):
        if self.fault == "identity":
            return x.clone()
        if self.fault == "no gradient":
            return x.detach().flip(-1)
        if self.fault == "dark border":
            return x.flip(-1) * torch.linspace(0, 1, x.shape[-1])
        if self.fault == "per image":
            return torch.cat([x[:1].flip(-1), x[1:].flip(-2)])
        return x.flip(-1)

    def inverse(self):
        return Rolled() if self.fault == "wrong inverse" else self

    def valid(self, size):
        if self.fault == "empty":
            return torch.zeros(size, dtype=torch.bool)
        return torch.ones(size, dtype=torch.float32 if self.fault == "float mask" else torch.bool)


class Rolled(Turned):
    """Moves by one column."""

    def __init__(self):
        super().__init__("none")

    def apply(self, x):
        return x.roll(1, -1)


class Flips(TransformGroup):
    """Mirror images."""

    name = "flips"

    def __init__(self, fault: str = "none"):
        self.fault = fault

    def sample(self, count, size, generator) -> Sequence[TransformElement]:
        if self.fault == "global":
            torch.rand(1)
        if self.fault == "unlimited" or count <= 1:
            return [Turned(self.fault)] * (count + (self.fault == "too many"))
        raise FusionkitError(f"it has one element, found count {count}")

    def order(self, size):
        return 2 if self.fault == "order" else 1


@pytest.mark.parametrize(
    ("fault", "check", "sentence"),
    [
        ("none", None, ""),
        ("identity", "shape", "it is the identity"),
        ("no gradient", "differentiability", ""),
        ("dark border", "mask", "borders show through"),
        ("per image", "shape", "gives another result than in a batch"),
        ("wrong inverse", "inverse", "its inverse does not restore every bit"),
        ("wrong inverse", "composition", "not undone by their inverses"),
        ("empty", "mask", "no pixel is valid"),
        ("float mask", "mask", "gave torch.float32"),
        ("global", "generator", "draws from the global random generator"),
        ("order", "count", "order"),
        ("unlimited", "count", "order"),
        ("too many", "count", "asked for 0 elements it drew 1"),
    ],
)
def test_a_spoiled_transform_is_found(failures, fault, check, sentence):
    found = failures(Flips, fault=fault)
    if check is None:
        assert found == {}
    else:
        assert sentence in found[check]
