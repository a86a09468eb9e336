"""What a progress bar prints where there is no terminal, and what silence accepts."""

from __future__ import annotations

import pytest

from fusionkit import progress
from fusionkit.progress import Progress, ProgressBar, SilentProgress


@pytest.fixture
def clock(monkeypatch):
    """Seconds that the test sets."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def work(progress: Progress, clock: list[float], seconds: float) -> None:
    progress.expect(4)
    for loss in (0.5, 0.25, 0.125):
        clock[0] += seconds
        progress.step({"loss": loss})


def test_without_a_terminal_there_is_a_line_every_twenty_seconds_and_one_at_the_end(capsys, clock):
    with ProgressBar("training", done=1) as bar:
        work(bar, clock, seconds=15)
    lines = [line.split() for line in capsys.readouterr().err.splitlines()]
    assert [line[:2] for line in lines] == [["training", "3/4"], ["training", "4/4"]]
    assert lines[0][2:] == ["loss", "0.2500", "30", "s,", "15", "s", "left"]


def test_an_unknown_number_of_steps(capsys, clock):
    with ProgressBar("training") as bar:
        clock[0] = 21
        bar.step()
    assert capsys.readouterr().err.split() == ["training", "1", "21", "s"]


def test_without_a_terminal_there_are_no_empty_lines(capsys, clock):
    with ProgressBar("training", total=1) as bar:
        bar.step()
    assert "" not in capsys.readouterr().err.splitlines()


def test_silence(capsys, clock):
    work(SilentProgress(), clock, seconds=30)
    with ProgressBar("training", visible=False) as bar:
        work(bar, clock, seconds=30)
    assert capsys.readouterr() == ("", "")
