"""The ledger: which stages have finished, and what their results depend on."""

from __future__ import annotations

from pathlib import Path

import pytest

from fusionkit.interfaces import RunContext, Stage
from fusionkit.runs.ledger import FinishedStage, Ledger, stage_digests

CONFIG = {
    "name": "a",
    "seed": 0,
    "accelerator": "auto",
    "devices": 1,
    "num_nodes": 1,
    "test": None,
    "stages": [{"name": "first"}, {"name": "second"}],
}


class Training(Stage):
    """A stage that ignores the test set."""

    name = "training"
    ignores = ("test",)

    def run(self, run: RunContext) -> None:
        """Do nothing."""


class Scoring(Stage):
    """A stage that depends on everything."""

    name = "scoring"

    def run(self, run: RunContext) -> None:
        """Do nothing."""


def digests(**changes: object) -> dict[str, str]:
    stages = [("0-first", Training()), ("1-second", Scoring())]
    return stage_digests({**CONFIG, **changes}, stages)


def test_a_digest_depends_on_what_the_stage_does_not_ignore():
    before, after = digests(), digests(test={"name": "other"})
    assert before["0-first"] == after["0-first"]
    assert before["1-second"] != after["1-second"]


def test_a_digest_depends_on_the_stages_before():
    before = digests()
    after = digests(stages=[{"name": "first", "epochs": 2}, {"name": "second"}])
    assert before["0-first"] != after["0-first"]
    assert before["1-second"] != after["1-second"]


@pytest.mark.parametrize("key", ["devices", "num_nodes"])
def test_a_digest_depends_on_the_number_of_processes(key):
    # Sums in another order give slightly different weights.
    assert digests()["0-first"] != digests(**{key: 2})["0-first"]


def test_a_digest_depends_on_compiling_and_is_that_of_earlier_releases_without():
    assert digests() == digests(compile=False, activation_checkpointing=False)
    assert digests()["0-first"] != digests(compile=True)["0-first"]


@pytest.mark.parametrize("key", ["name", "accelerator", "activation_checkpointing"])
def test_a_digest_does_not_depend_on_name_and_machine(key):
    assert digests() == digests(**{key: "other"})


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    (tmp_path / "checkpoints").mkdir()
    return Ledger(tmp_path)


def test_finished_stages_survive_the_file(ledger):
    stage = FinishedStage("abc", {"backbone": ["checkpoints/0-first.backbone.safetensors"]})
    ledger.add("0-first", stage)
    ledger.add("1-second", FinishedStage("def", {}))
    assert list(ledger.finished()) == ["0-first", "1-second"]
    assert ledger.finished()["0-first"] == stage
    ledger.keep(["0-first"])
    assert list(ledger.finished()) == ["0-first"]


def test_the_first_missing_file_is_found(ledger):
    ledger.add("0-first", FinishedStage("abc", {"fused": ["fused/a.png", "fused/b.png"]}))
    (ledger.folder / "fused").mkdir()
    (ledger.folder / "fused" / "a.png").touch()
    assert str(ledger.folder / "fused" / "b.png") in ledger.problem("0-first")
    (ledger.folder / "fused" / "b.png").touch()
    assert ledger.problem("0-first") is None


@pytest.mark.parametrize("text", ["{", "[]", '{"0-first": "abc"}', '{"0-first": {"x": 1}}'])
def test_a_damaged_state_is_named_and_kept(ledger, text, logged):
    path = ledger.folder / "state.json"
    path.write_text(text)
    ledger.write_started({"0-first": "abc"})
    assert ledger.finished() == {}
    assert ledger.worked_on() == {"0-first"}  # so another configuration is refused still
    ledger.repair()
    assert str(path) in logged[0]
    assert path.with_name("state.json.damaged").read_text() == text
    assert not path.exists()
