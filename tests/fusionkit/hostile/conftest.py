"""What the hostile tests share: limits of time and memory, and how a command may end."""

from __future__ import annotations

import os
import random
import resource
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from fusionkit.cli import app
from fusionkit.cli.ending import run_to_the_end
from fusionkit.io.images import write_image

SECONDS = 10
WAITING = 300
"""Seconds after which a command that waits for something hangs: a busy machine slows others."""
GIGABYTES = 2
EXTREME = [0, 1, 0x7F, 0x80, 0xFF]


class Limits:
    """Checks time and memory of what runs inside."""

    def __enter__(self) -> None:
        self._start = time.process_time()
        self._limit = resource.getrlimit(resource.RLIMIT_AS)
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
            pages = int(file.read().split()[0])
        most = pages * os.sysconf("SC_PAGESIZE") + GIGABYTES * 2**30
        resource.setrlimit(resource.RLIMIT_AS, (most, self._limit[1]))
        self._handler = signal.signal(signal.SIGALRM, self._give_up)
        signal.alarm(WAITING)

    def __exit__(self, *_: object) -> None:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, self._handler)
        resource.setrlimit(resource.RLIMIT_AS, self._limit)
        assert time.process_time() - self._start < SECONDS

    @staticmethod
    def _give_up(*_: object) -> None:
        raise AssertionError("the command hangs")


def command(*arguments: object) -> int:
    with Limits(), pytest.raises(SystemExit) as end:
        run_to_the_end(lambda: app([str(a) for a in arguments]))
    return int(end.value.code or 0)


@pytest.fixture
def ends_well(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> Callable[..., int]:
    """Return a check that a command ends in success, or in a message with exit code 2."""

    def check(*arguments: object) -> int:
        """Return the exit code."""
        caplog.clear()
        code = command(*arguments)
        captured = capfd.readouterr()
        errors = captured.err + caplog.text
        assert code in (0, 2), (arguments, errors)
        assert "Traceback" not in errors + captured.out
        if code:
            logged = any(record.levelname in ("WARNING", "ERROR") for record in caplog.records)
            assert logged or "error: " in errors or "Usage: " in errors, errors
        print(errors)  # for a test that expects another end
        return code

    return check


@pytest.fixture
def refused(ends_well: Callable[..., int]) -> Callable[..., None]:
    """Return a check that a command ends in a message with exit code 2."""

    def check(*arguments: object) -> None:
        assert ends_well(*arguments) == 2, arguments

    return check


@pytest.fixture(scope="session")
def damaged() -> Callable[[bytes, random.Random], Iterator[bytes]]:
    """Return what yields damaged copies of a file, one of each kind."""

    def copies(data: bytes, chance: random.Random) -> Iterator[bytes]:
        place = chance.randrange(len(data))
        yield data[:place]
        copy = bytearray(data)
        for _ in range(chance.randint(1, 8)):
            copy[chance.randrange(len(copy))] = chance.randrange(256)
        yield bytes(copy)
        copy = bytearray(data)
        start = chance.randrange(min(len(copy), 120))
        copy[start : start + 4] = bytes(chance.choice(EXTREME) for _ in range(4))
        yield bytes(copy)
        yield data[:place] + chance.randbytes(chance.randint(1, 64)) + data[place:]
        yield data[:place] + data[place + chance.randint(1, 64) :]

    return copies


@pytest.fixture
def good(tmp_path: Path, noise: np.ndarray) -> Path:
    """Return the file of a grey image."""
    path = tmp_path / "good.png"
    write_image(path, noise[..., 1])
    return path


@pytest.fixture(scope="session")
def noise() -> np.ndarray:
    """Return a small image in colour."""
    return np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Let what a test printed be sent to another process, names that are no Unicode included."""
    report = yield
    report.sections = [
        (title, text.encode(errors="backslashreplace").decode()) for title, text in report.sections
    ]
    return report
