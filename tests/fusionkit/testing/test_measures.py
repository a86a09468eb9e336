"""The checks of metrics and tasks find each spoiled one, and say it in a sentence."""

from __future__ import annotations

import pytest
import torch

from fusionkit.interfaces import (
    Metric,
    Task,
)


class Spread(Metric):
    """Standard deviation, spoiled as asked."""

    name = "spread"
    higher_is_better = True
    profiles = ("cddfuse",)
    profile = "cddfuse"

    def __init__(self, fault: str = "none"):
        self.fault = fault
        if fault == "reversed":
            self.higher_is_better = False  # type: ignore[misc]

    def __call__(self, fused, sources):
        if self.fault == "scalar":
            return fused.std()
        if self.fault == "batch":
            return fused.flatten(1).std(dim=1) / fused.mean()
        if self.fault == "log":
            return fused.flatten(1).std(dim=1).log()
        return fused.flatten(1).std(dim=1)


@pytest.mark.parametrize(
    ("fault", "check", "sentence"),
    [
        ("none", None, ""),
        ("scalar", "values", "2 images gave values of shape ()"),
        ("batch", "batch_independence", "alone and"),
        ("log", "extremes", "a fused image of 0.0 everywhere"),
        ("reversed", "direction", "lower is better, it says"),
    ],
)
def test_a_spoiled_metric_is_found(failures, fault, check, sentence):
    found = failures(Spread, fault=fault)
    if check is None:
        assert found == {}
    else:
        assert sentence in found[check]


class Judged(Task):
    """Mean of the fused image, spoiled as asked."""

    name = "judged"

    def __init__(self, fault: str = "none"):
        self.fault = fault
        self._ids: list[str] = []

    def fit(self, train):
        if self.fault == "global":
            torch.rand(1)

    def score(self, test):
        self._ids = [sample.id for sample in test]
        value = sum(float(s.images["fused"].mean()) for s in test)
        if self.fault == "seed":
            value += float(torch.empty(()).uniform_(generator=_fresh()))
        return {"mean": float("nan") if self.fault == "nan" else value}

    def per_image(self):
        return {"mean": dict.fromkeys(["elsewhere"] if self.fault == "ids" else self._ids, 0.0)}


def _fresh():
    generator = torch.Generator()
    generator.seed()
    return generator


@pytest.mark.parametrize(
    ("fault", "check", "sentence"),
    [
        ("none", None, ""),
        ("global", "task_scores", "the global random generator"),
        ("nan", "task_scores", "its score mean is nan"),
        ("ids", "task_scores", "scenes that were not scored"),
        ("seed", "task_seed", "with one seed it scores"),
    ],
)
def test_a_spoiled_task_is_found(failures, fault, check, sentence):
    found = failures(Judged, fault=fault)
    if check is None:
        assert found == {}
    else:
        assert sentence in found[check]
