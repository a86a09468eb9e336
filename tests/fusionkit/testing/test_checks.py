"""Every check of the kit finds what it is there for, and says it in a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import nn

from fusionkit.interfaces import (
    Backbone,
    Dataset,
    Distance,
    Loss,
    Metric,
    Sample,
    Stage,
    Task,
    TransformElement,
    TransformGroup,
)
from fusionkit.registry import Registry
from fusionkit.testing import Case, Subject
from fusionkit.testing.cases import CHECKS


class Good(Backbone):
    """A gate between two sources."""

    name = "good"
    stride = 4

    def __init__(self, width: int = 2):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(2, width, 3, padding=1), nn.Conv2d(width, 1, 1))

    def forward(self, sources):
        first, second = sources.values()
        gate = self.layers(torch.cat((first, second), dim=1)).sigmoid()
        return gate * first + (1 - gate) * second


def failures(cls: type, **arguments: Any) -> dict[str, str]:
    """Return what fails, by check."""
    registry = Registry()
    registry.add(cls, "test")  # type: ignore[arg-type]
    subject = Subject(registry, cls, arguments)  # type: ignore[arg-type]
    outcomes = {c.__name__: Case(subject, c).outcome() for c in CHECKS[cls.kind]}  # type: ignore[attr-defined]
    return {name: o.sentence for name, o in outcomes.items() if o.state == "failed"}


def test_a_good_backbone_passes_all():
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
        (Rooted, "flat_images", "a gradient that is not finite"),
        (Local, "pickling", "keep lambdas, open files"),
    ],
)
def test_a_spoiled_backbone_is_found(cls, check, sentence):
    found = failures(cls)
    assert check in found
    assert sentence in found[check]


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
        return [Turned(self.fault)] * (count + (self.fault == "too many"))


@pytest.mark.parametrize(
    ("fault", "check", "sentence"),
    [
        ("none", None, ""),
        ("identity", "shape", "it is the identity"),
        ("no gradient", "differentiability", ""),
        ("dark border", "mask", "borders show through"),
        ("per image", "shape", "comes out otherwise than in a batch"),
        ("wrong inverse", "inverse", "its inverse does not restore every bit"),
        ("wrong inverse", "composition", "not undone by their inverses"),
        ("empty", "mask", "no pixel is valid"),
        ("float mask", "mask", "gave torch.float32"),
        ("global", "generator", "draws from the global random generator"),
        ("too many", "count", "asked for 0 elements it drew 1"),
    ],
)
def test_a_spoiled_transform_is_found(fault, check, sentence):
    found = failures(Flips, fault=fault)
    if check is None:
        assert found == {}
    else:
        assert sentence in found[check]


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
def test_a_spoiled_loss_is_found(fault, check, sentence):
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
def test_a_spoiled_distance_is_found(fault, check, sentence):
    found = failures(Apart, fault=fault)
    if check is None:
        assert found == {}
    else:
        assert sentence in found[check]


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
def test_a_spoiled_metric_is_found(fault, check, sentence):
    found = failures(Spread, fault=fault)
    if check is None:
        assert found == {}
    else:
        assert sentence in found[check]


class Made(Dataset):
    """Noise, spoiled as asked."""

    name = "made"
    mask_classes = ("ground",)
    box_classes = ("thing",)

    def __init__(self, fault: str = "none"):
        self.fault = fault

    def __len__(self):
        return 0 if self.fault == "empty" else 4

    def splits(self):
        if self.fault == "no val":
            return {"train": [0, 1, 2, 3]}
        return {"train": [0, 1, 2], "val": [2, 3] if self.fault == "overlap" else [3]}

    def __getitem__(self, index):
        if index >= 4 and self.fault != "endless":
            raise IndexError(index)
        seed = None if self.fault == "random" else index
        generator = torch.Generator()
        generator.seed() if seed is None else generator.manual_seed(seed)
        image = torch.rand(1, 32, 32, generator=generator)
        names = ("infrared",) if self.fault == "modality" else ("infrared", "visible")
        if self.fault == "range":
            image = image * 255
        mask = torch.zeros(32, 32, dtype=torch.int64)
        if self.fault == "mask":
            mask[0] = 9
        boxes = torch.tensor([[0, 0.5, 0.5, 0.1, 0.1]]) * (50 if self.fault == "boxes" else 1)
        name = "one" if self.fault == "names" else f"scene {index}"
        return Sample(name, dict.fromkeys(names, image), mask=mask, boxes=boxes)


@pytest.mark.parametrize(
    ("fault", "check", "sentence"),
    [
        ("none", None, ""),
        ("empty", "samples", "it is empty"),
        ("modality", "samples", "has no 'visible'"),
        ("range", "samples", "values outside of [0, 1]"),
        ("names", "samples", "two scenes have one name"),
        ("mask", "labels", "the mask has classes [0, 9]"),
        ("boxes", "labels", "boxes are relative to the image"),
        ("no val", "splits", "has no 'val'"),
        ("overlap", "splits", "scene 2 is in the splits 'train' and 'val'"),
        ("random", "repeatable", "read twice, scene 0 differs"),
        ("endless", "repeatable", "raises no IndexError"),
    ],
)
def test_a_spoiled_dataset_is_found(fault, check, sentence):
    found = failures(Made, fault=fault)
    if check is None:
        assert found == {}
    else:
        assert sentence in found[check]


class Blind(Stage):
    """Sees nothing."""

    name = "blind"
    blind_to = ("tests",)

    def run(self, run):
        """Do nothing."""


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


def test_a_spoiled_stage_is_found():
    assert "'tests', which is no key" in failures(Blind)["stage"]


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
def test_a_spoiled_task_is_found(fault, check, sentence):
    found = failures(Judged, fault=fault)
    if check is None:
        assert found == {}
    else:
        assert sentence in found[check]


class Needy(Good):
    """Needs a value."""

    name = "needy"

    def __init__(self, path: str):
        super().__init__()


def test_what_needs_arguments_is_skipped_with_a_word_and_checked_with_an_example():
    registry = Registry()
    registry.add(Needy, "test")
    subject = Subject(registry, Needy)
    outcome = Case(subject, CHECKS["backbone"][1]).outcome()
    assert outcome.state == "skipped"
    assert outcome.sentence == "no value given for its argument path"
    assert failures(Needy, path="x") == {}
