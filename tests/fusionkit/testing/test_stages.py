"""The checks of stages find each spoiled one, and pass the shipped ones."""

from __future__ import annotations

import pytest

from fusionkit.errors import FusionkitError
from fusionkit.interfaces import Stage
from fusionkit.registry.plugins import load_installed_plugins
from fusionkit.testing import cases_of


class Made(Stage):
    """Spoiled as asked."""

    name = "made"

    def __init__(self, fault: str = "none"):
        self.fault = fault
        self.asked = 0

    def requires(self, run):
        """Require weights."""
        self.asked += 1
        assert run.config.modalities == ("infrared", "visible")
        found = {"text": "backbone", "nothing": None, "number": [1], "unsteady": [str(self.asked)]}
        return found.get(self.fault, ["backbone"])

    def produces(self, run):
        """Produce a file."""
        found = {"absolute": ["/tmp/out"], "outside": ["../out"], "empty": [""]}
        return found.get(self.fault, ("tables/out.csv",))

    def check(self, run):
        """Look at the data."""
        assert len(run.components.data.splits()["val"]) == 1
        if self.fault == "refuses":
            raise FusionkitError("expected more pairs, found one")
        if self.fault == "raises":
            raise KeyError("pairs")
        if self.fault == "writes":
            (run.folder / "note.txt").touch()

    def run(self, run):
        """Do nothing."""


@pytest.mark.parametrize(
    ("fault", "check", "word"),
    [
        ("none", None, ""),
        ("refuses", None, ""),
        ("text", "artifacts", "'backbone'"),
        ("nothing", "artifacts", "None"),
        ("number", "artifacts", "found 1"),
        ("unsteady", "artifacts", "'2'"),
        ("absolute", "artifacts", "/tmp/out"),
        ("outside", "artifacts", "../out"),
        ("empty", "artifacts", "''"),
        ("raises", "early", "KeyError"),
        ("writes", "early", "note.txt"),
    ],
)
def test_a_spoiled_stage_is_found(failures, fault, check, word):
    found = failures(Made, fault=fault)
    if check is None:
        assert found == {}
    else:
        assert word in found[check]


class Blind(Stage):
    """Ignores a key that does not exist."""

    name = "blind"
    ignores = ("tests",)

    def run(self, run):
        """Do nothing."""


def test_a_key_that_does_not_exist_is_found(failures):
    assert "'tests'" in failures(Blind)["stage"]


@pytest.mark.parametrize(
    "case",
    [
        case
        for case in cases_of(load_installed_plugins())
        if case.subject.cls.kind == "stage" and case.check.__name__ in ("artifacts", "early")
    ],
    ids=str,
)
def test_the_shipped_stages_pass(case):
    assert case.outcome().state == "passed", case.outcome().sentence
