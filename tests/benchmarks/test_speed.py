"""The table of speeds."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def measurement(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.delitem(sys.modules, "benchmarks", raising=False)
    if importlib.util.find_spec("benchmarks.speed") is None:
        pytest.skip("benchmarks/ is not part of an installation")
    from benchmarks.speed import measurement

    return measurement


def test_a_ratio_says_how_many_times_better_we_are(measurement):
    row = measurement.Row
    assert row("fuse", 2.0, "s", "peer", 6.0).ratio == 3
    assert row("convolution", 30.0, "GFLOP/s", "peer", 60.0, more_is_better=True).ratio == 0.5
    assert row("start", 1.0, "s").ratio is None
    assert row("start", 1.0, "s").cells() == ("start", "1 s", "", "")


def test_functions_take_turns_after_a_warm_up(measurement):
    calls = []
    functions = {name: lambda name=name: calls.append(name) for name in "ab"}
    times = measurement.time_in_turn(functions, rounds=2)
    assert calls == list("ababab")
    assert all(0 <= seconds < 1 for seconds in times.values())


def test_memory_of_a_process_is_what_it_allocates(measurement):
    used = measurement.peak_memory("x = bytes(10**8) * 2") - measurement.peak_memory("")
    assert 190 < used < 310
