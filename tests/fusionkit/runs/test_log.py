"""The log: one JSON object per line, the last of each step, some stages kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from fusionkit.runs.log import LogFile, StageLog


@pytest.fixture
def log(tmp_path: Path) -> LogFile:
    return LogFile(tmp_path / "log.jsonl")


def test_no_file_is_an_empty_log(log):
    assert log.read() == []
    log.keep_stages(["0-first"])
    assert not log.path.exists()


def test_of_a_step_that_was_logged_twice_the_last_counts(log):
    log.append("0-first", 1, {"loss": 0.5})
    log.append("0-first", 2, {"loss": 0.4})
    log.append("0-first", 2, {"loss": 0.3})
    assert [(entry["step"], entry["loss"]) for entry in log.read()] == [(1, 0.5), (2, 0.3)]


def test_entries_of_other_stages_are_removed(log):
    log.append("0-first", 1, {"loss": 0.5})
    log.append("1-second", 1, {"loss": 0.4})
    log.keep_stages(["0-first"])
    assert [entry["stage"] for entry in log.read()] == ["0-first"]


def test_only_the_first_process_writes_and_notifies(log):
    told = []
    for writes in (False, True):
        stage = StageLog(log, "0-first", writes, lambda step, values: told.append((step, values)))
        stage.write(int(writes), {"loss": 1.0})
    assert told == [(1, {"loss": 1.0})]
    assert [entry["step"] for entry in log.read()] == [1]
