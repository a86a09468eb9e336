"""The checks of metrics find each spoiled one, and say it in a sentence."""

from __future__ import annotations

import pytest
import torch

from fusionkit.interfaces import Metric


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


class Entropy(Metric):
    """Entropy under the field's name, spoiled as asked."""

    name = "EN"
    higher_is_better = True
    profiles = ("cddfuse",)
    profile = "cddfuse"

    def __init__(self, nats: bool = False):
        self.nats = nats

    def __call__(self, fused, sources):
        levels = (fused * 255).round().long().flatten(1)
        found = []
        for image in levels:
            part = torch.bincount(image, minlength=256) / len(image)
            part = part[part > 0]
            found.append(-(part * (part.log() if self.nats else part.log2())).sum())
        return torch.stack(found)


def test_a_known_name_has_a_known_answer(failures):
    assert failures(Entropy) == {}
    found = failures(Entropy, nats=True)
    assert list(found) == ["known_answers"]
    assert "0.693" in found["known_answers"]


class Oblong(Spread):
    """Takes every image for square."""

    name = "oblong"

    def __call__(self, fused, sources):
        return fused.reshape(len(fused), fused.shape[-1], fused.shape[-1]).std(dim=(1, 2))


def test_images_are_not_square(failures):
    assert "values" in failures(Oblong)
