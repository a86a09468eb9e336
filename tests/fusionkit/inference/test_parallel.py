"""Work in other processes: its order, its errors, and how the processes end."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from fusionkit.errors import FusionkitError
from fusionkit.inference.parallel import in_processes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are copied on Linux")


def _squares(count: int, workers: int, at_once: int) -> list[tuple[int, bool, int]]:
    parent = os.getpid()

    def square(number: int) -> tuple[np.ndarray, bool, int]:
        return np.full(4, number**2), os.getpid() == parent, torch.get_num_threads()

    torch.set_num_threads(2)
    found = in_processes(square, range(count), workers, at_once=at_once)
    return [(int(square.mean()), here, threads) for square, here, threads in found]


@pytest.mark.parametrize(("workers", "at_once"), [(1, 1), (2, 1), (2, 3), (3, 100)])
def test_results_come_in_order_from_other_processes(call_elsewhere, workers, at_once):
    expected = [(k**2, False, 1) for k in range(20)]
    assert call_elsewhere(_squares, 20, workers, at_once) == expected


def test_without_workers_this_process_works(call_elsewhere):
    assert call_elsewhere(_squares, 3, 0, 1) == [(0, True, 2), (1, True, 2), (4, True, 2)]


def _fails_at(bad: int) -> tuple[list[int], str]:
    def work(number: int) -> int:
        if number == bad:
            raise FusionkitError(f"{number} is damaged")
        return number

    found: list[int] = []
    try:
        found.extend(in_processes(work, range(9), workers=2, at_once=2))
    except FusionkitError as error:
        return found, str(error)
    return found, ""


def test_an_error_comes_at_its_place_in_its_own_words(call_elsewhere):
    assert call_elsewhere(_fails_at, 5) == ([0, 1, 2, 3, 4], "5 is damaged")


def _dies_at(bad: int) -> str:
    def work(number: int) -> int:
        if number == bad:
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    try:
        list(in_processes(work, range(9), workers=2))
    except FusionkitError as error:
        return str(error)
    return ""


def test_a_killed_process_is_one_sentence(call_elsewhere):
    assert "killed" in call_elsewhere(_dies_at, 5)


def _random_number(workers: int) -> float:
    torch.manual_seed(0)
    list(in_processes(abs, [1, 2], workers))
    return float(torch.rand(1))


def test_the_global_generator_stays_as_it_is(call_elsewhere):
    assert call_elsewhere(_random_number, 2) == call_elsewhere(_random_number, 0)


def _note_processes(folder: Path, dies: bool) -> list[int]:
    def work(number: int) -> int:
        (folder / str(os.getpid())).touch()
        time.sleep(0.01)
        return number

    found = in_processes(work, range(10_000), workers=2)
    while len(list(folder.iterdir())) < 2:
        next(found)
    if dies:
        os.kill(os.getpid(), signal.SIGKILL)
    del found
    return [int(path.name) for path in folder.iterdir() if _lives(int(path.name))]


def _lives(process: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False


def test_processes_end_with_the_iterator(call_elsewhere, tmp_path):
    assert call_elsewhere(_note_processes, tmp_path, False) == []


def test_processes_end_when_the_one_that_started_them_is_killed(call_elsewhere, tmp_path):
    assert call_elsewhere(_note_processes, tmp_path, True) == "SIGKILL"
    processes = [int(path.name) for path in tmp_path.iterdir()]
    end = time.monotonic() + 2  # PyTorch's own watchdog looks every five seconds
    while any(map(_lives, processes)) and time.monotonic() < end:
        time.sleep(0.01)
    assert not any(map(_lives, processes))
