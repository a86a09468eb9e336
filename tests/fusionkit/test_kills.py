"""Runs that are killed at random moments, again and again, end like one that never was."""

from __future__ import annotations

import json
import multiprocessing
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from fusionkit.cli import main

STAGES = ("train-sensors", "train-backbone", "fuse", "evaluate", "report")


@pytest.fixture(scope="module")
def start(tiny_recipe) -> Callable[[Path], multiprocessing.Process]:
    """Return a function that starts `fusionkit run` in a process with everything imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["fusionkit.cli", "fusionkit.runs.pipeline", "fusionkit_emma"])

    def start(folder: Path) -> multiprocessing.Process:
        with pytest.MonkeyPatch.context() as patch:
            arguments = ["run", str(tiny_recipe), "--out", str(folder), "accelerator=cpu"]
            patch.setattr(sys, "argv", ["fusionkit", *arguments])
            process = context.Process(target=main)
            process.start()
        return process

    return start


def contents(folder: Path) -> dict[str, bytes]:
    """All files that hold results; logs and reports hold times."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".png", ".safetensors", ".csv") or path.name == "metrics.json"
    }


def finished(folder: Path) -> int:
    state = folder / "state.json"
    return len(json.loads(state.read_text())) if state.is_file() else 0


@pytest.mark.parametrize("kills", [4, pytest.param(50, marks=pytest.mark.soak)])
def test_a_run_that_is_killed_ends_as_one_that_is_not(start, tmp_path, kills):
    start(tmp_path / "first").join()  # the fork server imports what it was asked to
    begin = time.monotonic()
    start(tmp_path / "whole").join()
    duration = time.monotonic() - begin
    expected = contents(tmp_path / "whole")
    assert finished(tmp_path / "whole") == len(STAGES)
    assert sum(name.endswith(".safetensors") for name in expected) >= 3

    chance = random.Random(kills)
    hit: Counter[str] = Counter()
    number = 0
    while hit.total() < kills:
        folder = tmp_path / str(number)
        number += 1
        first, code = 0, None  # the first stage that may be killed: each once in a folder
        while code is None:
            process = start(folder)
            if hit.total() < kills and first < len(STAGES):
                stage = chance.randrange(first, len(STAGES))
                while process.is_alive() and finished(folder) < stage:
                    time.sleep(0.01)
                process.join(chance.uniform(0, duration / 3))
            else:
                process.join()
            code = process.exitcode
            if code is None:
                process.kill()
                process.join()
                at = min(finished(folder), len(STAGES) - 1)
                hit[STAGES[at]] += 1
                first = at + 1
        assert code == 0
        assert contents(folder) == expected
        assert not [path for path in folder.rglob("*") if re.match(r"\.fusionkit-", path.name)]
    print(f"{hit.total()} kills: {dict(hit)}; a whole run takes {duration:.1f} s")
    if kills > 10:
        assert set(hit) == set(STAGES)
