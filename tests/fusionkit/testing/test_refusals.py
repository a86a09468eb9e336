"""A component that refuses fails, unless it declares what it refuses and why."""

from __future__ import annotations

import pytest
import torch

from fusionkit.errors import FusionkitError
from fusionkit.interfaces import (
    Backbone,
    Dataset,
    Distance,
    Loss,
    Metric,
    Sensor,
    Stage,
    Task,
    TransformGroup,
)
from fusionkit.testing.cases import CHECKS


def refuse(*_, **__):
    raise FusionkitError("not today")


class RefusingBackbone(Backbone):
    """Refuses everything."""

    name = "refusing"
    forward = fuse = refuse


class RefusingSensor(Sensor):
    """Refuses everything."""

    name = "refusing"
    forward = refuse


class RefusingTransform(TransformGroup):
    """Refuses everything."""

    name = "refusing"
    sample = refuse


class RefusingLoss(Loss):
    """Refuses everything."""

    name = "refusing"
    forward = refuse


class RefusingDistance(Distance):
    """Refuses everything."""

    name = "refusing"
    forward = refuse


class RefusingMetric(Metric):
    """Refuses everything."""

    name = "refusing"
    higher_is_better = True
    profiles = ("cddfuse",)
    profile = "cddfuse"
    __call__ = refuse


class RefusingDataset(Dataset):
    """Refuses everything."""

    name = "refusing"
    __len__ = __getitem__ = splits = refuse


class RefusingTask(Task):
    """Refuses everything."""

    name = "refusing"
    fit = score = refuse


REFUSING = (RefusingBackbone, RefusingSensor, RefusingTransform, RefusingLoss, RefusingDistance,
            RefusingMetric, RefusingDataset, RefusingTask)  # fmt: skip


@pytest.mark.parametrize("cls", REFUSING, ids=lambda cls: cls.kind)
def test_what_always_refuses_fails(failures, cls):
    found = failures(cls)
    assert len(found) >= 2
    assert all("not today" in sentence for sentence in found.values()), found
    assert all("refuses" in sentence for sentence in found.values()), found


@pytest.mark.parametrize("cls", REFUSING, ids=lambda cls: cls.kind)
def test_a_declared_refusal_is_neither_a_pass_nor_a_failure(outcomes, failures, cls, monkeypatch):
    undeclared = failures(cls)
    monkeypatch.setattr(cls, "refuses", dict.fromkeys(undeclared, "closed on Mondays"))
    made = outcomes(cls)
    assert {name for name, o in made.items() if o.state == "refused"} == set(undeclared)
    assert not failures(cls)
    for name in undeclared:
        assert "closed on Mondays" in made[name].sentence
        assert "not today" in made[name].sentence


class Unbuildable(Stage):
    """Can never be built."""

    name = "unbuildable"

    def __init__(self):
        refuse()

    def run(self, run):
        """Do nothing."""


class Closed(Unbuildable):
    """Can never be built, and says so."""

    name = "closed"
    refuses = {"build": "closed on Mondays"}  # noqa: RUF012


def test_what_can_not_be_built_fails_unless_declared(failures, outcomes):
    found = failures(Unbuildable)
    assert "not today" in found["pickling"]
    assert "example" in found["pickling"]
    made = outcomes(Closed)
    assert {o.state for o in made.values()} == {"passed", "refused"}
    assert made["docstring"].state == "passed"


class Needy(Distance):
    """Needs a value."""

    name = "needy"

    def __init__(self, path: str):
        super().__init__()

    def forward(self, a, b, mask=None):
        gap = (a - b).abs()
        return gap.mean() if mask is None else gap[mask].mean()


class Exemplary(Needy):
    """Needs a value and has an example."""

    name = "exemplary"
    example = {"path": "x"}  # noqa: RUF012


class Rooted(Needy):
    """Needs a value that only its user has."""

    name = "rooted"
    refuses = {"build": "needs the files of the user"}  # noqa: RUF012


def test_a_required_argument_needs_an_example_or_a_declaration(failures, outcomes):
    found = failures(Needy)
    assert "path" in found["distance"]
    assert "example" in found["distance"]
    assert failures(Needy, path="x") == {}
    assert failures(Exemplary) == {}
    made = outcomes(Rooted)
    assert made["distance"].state == "refused"
    assert "the files of the user" in made["distance"].sentence
    assert outcomes(Rooted, path="x")["distance"].state == "passed"


class Misdeclared(Exemplary):
    """Declares a check that does not exist."""

    name = "misdeclared"
    refuses = {"distances": "closed on Mondays"}  # noqa: RUF012


class Unreasoned(Exemplary):
    """Gives no reason."""

    name = "unreasoned"
    refuses = {"distance": " "}  # noqa: RUF012


class Misspelt(Exemplary):
    """Has an example with a wrong key."""

    name = "misspelt"
    example = {"path": "x", "paht": "y"}  # noqa: RUF012


@pytest.mark.parametrize(
    ("cls", "words"),
    [
        (Misdeclared, ["'distances'", "'distance'"]),
        (Unreasoned, ["'distance'", "reason"]),
        (Misspelt, ["paht"]),
    ],
)
def test_declarations_are_checked(failures, cls, words):
    found = failures(cls)["declarations"]
    assert all(word in found for word in words), found


class TwoOnly(Backbone):
    """Fuses two sources."""

    name = "two-only"

    def __init__(self):
        super().__init__()
        self.gate = torch.nn.Parameter(torch.zeros(()))

    def forward(self, sources):
        first, second = sources.values()
        gate = self.gate.sigmoid()
        return gate * first + (1 - gate) * second


class TwoOnlyDeclared(TwoOnly):
    """Fuses two sources, and refuses three in a sentence."""

    name = "two-only-declared"
    refuses = {"three_sources": "it has one gate"}  # noqa: RUF012

    def forward(self, sources):
        if len(sources) != 2:
            raise FusionkitError(f"it fuses two sources, found {len(sources)}")
        return super().forward(sources)


def test_a_backbone_takes_three_sources_or_declares_that_it_does_not(failures, outcomes):
    assert list(failures(TwoOnly)) == ["three_sources"]
    assert failures(TwoOnlyDeclared) == {}
    assert outcomes(TwoOnlyDeclared)["three_sources"].state == "refused"


def test_every_kind_has_a_check_of_the_declarations():
    for checks in CHECKS.values():
        assert "declarations" in [check.__name__ for check in checks]
