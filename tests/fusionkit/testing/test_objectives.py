"""The checks of losses and distances find each spoiled one, and say it in a sentence."""

from __future__ import annotations

import pytest
import torch

from fusionkit.interfaces import (
    Distance,
    Loss,
)


class Term(Loss):
    """Squared difference to the sources, spoiled as asked."""

    name = "term"

    def __init__(self, fault: str = "none"):
        super().__init__()
        self.fault = fault

    def forward(self, step):
        gaps = [step.fused - source for source in step.sources.values()]
        if self.fault == "vector":
            return gaps[0].square().mean(dim=(1, 2, 3))
        if self.fault == "root":
            return sum(gap.square().sum().sqrt() for gap in gaps)
        if self.fault == "division":
            return sum(
                (gap.square() / source).mean()
                for gap, source in zip(gaps, step.sources.values(), strict=True)
            )
        if self.fault == "cut":
            return sum(gap.detach().square().mean() for gap in gaps)
        if self.fault == "reversed":
            return -sum(gap.square().mean() for gap in gaps)
        if self.fault == "offset":
            return 1 + sum(gap.square().mean() for gap in gaps)
        if self.fault == "global":
            return sum((gap + 0.1 * torch.rand_like(gap)).square().mean() for gap in gaps)
        return sum(gap.square().mean() for gap in gaps)


@pytest.mark.parametrize(
    ("fault", "check", "sentence"),
    [
        ("none", None, ""),
        ("vector", "scalar", "expected a scalar"),
        ("root", "finite", "a root or a division by zero"),
        ("division", "finite", "black sources"),
        ("cut", "gradient", "does not depend on the fused image"),
        ("reversed", "optimum", "noise in the fused image lowers the loss"),
        ("offset", "optimum", "the loss is 1; expected 0"),
        ("global", "scalar", "draw from step.generator only"),
    ],
)
def test_a_spoiled_loss_is_found(failures, fault, check, sentence):
    found = failures(Term, fault=fault)
    if check is None:
        assert found == {}
    else:
        assert sentence in found[check]


class Apart(Distance):
    """Mean absolute difference, spoiled as asked."""

    name = "apart"

    def __init__(self, fault: str = "none"):
        super().__init__()
        self.fault = fault

    def forward(self, a, b, mask=None):
        gap = (a - b).abs()
        if self.fault == "no mask" or mask is None:
            return gap.mean() + (self.fault == "offset")
        if self.fault == "sum":
            return (gap * mask).sum()
        return gap[mask].mean()


@pytest.mark.parametrize(
    ("fault", "check", "sentence"),
    [
        ("none", None, ""),
        ("no mask", "masked", "pixels far outside of the mask change it"),
        ("offset", "distance", "between equal images it is 1.0"),
        ("sum", "masked", "with a mask of all pixels"),
    ],
)
def test_a_spoiled_distance_is_found(failures, fault, check, sentence):
    found = failures(Apart, fault=fault)
    if check is None:
        assert found == {}
    else:
        assert sentence in found[check]
