"""A command that kills itself at a chosen moment; `test_kills.py` starts it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from fnmatch import fnmatch
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from types import SimpleNamespace

from fusionkit.cli import main


@dataclass(frozen=True)
class Moment:
    """When a command is killed.

    Attributes:
        file: Pattern of a path in the folder: the file is written, but not renamed yet; or it is
            about to get one more line.
        time: How often such a file has been written then.
        write: Number of the write, counted from 1; a file has two, its opening and its renaming.
        delay: Seconds after that.
        second: Whether the second of two processes is killed instead of the first.
    """

    file: str = ""
    time: int = 1
    write: int = 0
    delay: float = 0.0
    second: bool = False


def run(arguments: list[str], folder: Path, moment: Moment | None, writes: Synchronized) -> None:
    """Run a command, and count how often it writes to a folder."""
    started: list[subprocess.Popen] = []
    renamed = 0

    def kill() -> None:
        assert moment is not None
        if moment.second:
            started[-1].kill()
        else:
            os.kill(os.getpid(), signal.SIGKILL)

    def hook(event: str, values: tuple) -> None:
        nonlocal renamed
        if event == "os.rename":
            path = str(values[1])
        elif event == "open" and isinstance(values[0], str) and _writes(values[2]):
            path = values[0]
        else:
            return
        if not path.startswith(f"{folder}/"):
            return
        with writes.get_lock():
            writes.value += 1
            reached = writes.value == (moment.write if moment else 0)
        if moment is None:
            return
        name = path.removeprefix(f"{folder}/")
        if reached and moment.delay:
            threading.Timer(moment.delay, kill).start()
            return
        whole = event == "os.rename" or values[2] & os.O_APPEND
        if whole and moment.file and fnmatch(name, moment.file):
            renamed += 1
            reached = renamed == moment.time
        if reached:
            kill()

    _remember_processes(started)
    sys.addaudithook(hook)
    sys.argv = ["fusionkit", *arguments]
    # With it Fabric starts the second of two processes.
    sys.modules["__main__"] = SimpleNamespace(__spec__=SimpleNamespace(name="fusionkit"))  # type: ignore[assignment]
    main()


def _writes(flags: int) -> bool:
    return bool(flags & (os.O_WRONLY | os.O_RDWR))


def _remember_processes(started: list[subprocess.Popen]) -> None:
    initialize = subprocess.Popen.__init__

    def remembered(self: subprocess.Popen, *arguments, **named) -> None:
        initialize(self, *arguments, **named)
        started.append(self)

    subprocess.Popen.__init__ = remembered  # type: ignore[method-assign]
