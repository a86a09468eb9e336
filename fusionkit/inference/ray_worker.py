"""What a Ray worker runs: it prepares a job once, and does it on the items that it is sent."""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

from fusionkit.errors import FusionkitError

__all__ = ["Origin", "Raised", "Ready", "Worker"]

_LOGGER = logging.getLogger("fusionkit")

_PATIENCE = 10.0
"""Most seconds until a worker sees a new file on a network file system."""


@dataclass(frozen=True)
class Origin:
    """What a worker needs in order to find the same files and plugins as the command.

    Attributes:
        version: Version of fusionkit.
        folder: The working directory.
        environment: Variables of fusionkit.
        search: Where Python looks for modules.
        shared: Paths that a worker must see, with a fingerprint of each.
    """

    version: str
    folder: Path
    environment: dict[str, str]
    search: tuple[str, ...]
    shared: tuple[tuple[Path, str], ...]

    @classmethod
    def here(cls, shared: Sequence[Path]) -> Self:
        """Describe this process.

        Args:
            shared: Paths that a worker must see; those that can't be read here are left out.
        """
        variables = {k: v for k, v in os.environ.items() if k.startswith("FUSIONKIT_")}
        prints = ((path, _fingerprint(path)) for path in shared)
        return cls(
            version("fusionkit-mmif"),
            Path.cwd(),
            variables,
            tuple(path for path in sys.path if path),
            tuple((path, found) for path, found in prints if found is not None),
        )

    def settle(self) -> None:
        """Make this process find what the command finds.

        Raises:
            FusionkitError: if it has another version of fusionkit, or does not see a shared path.
        """
        host = socket.gethostname()
        if version("fusionkit-mmif") != self.version:
            raise FusionkitError(
                f"expected fusionkit {self.version} on every node, found "
                f"{version('fusionkit-mmif')} on {host}; install the same version there"
            )
        os.environ.update(self.environment)
        sys.path += [path for path in self.search if path not in sys.path]
        with suppress(OSError):  # absolute paths don't need it
            os.chdir(self.folder)
        for path, expected in self.shared:
            deadline = time.monotonic() + _PATIENCE
            while _fingerprint(path) != expected:
                if time.monotonic() > deadline:
                    raise FusionkitError(
                        f"the node {host} does not see {path} as this machine does; all nodes need "
                        f"the same folders under the same paths, such as a network file system"
                    )
                time.sleep(0.2)


def _fingerprint(path: Path) -> str | None:
    """Return what tells a file from another, or None if it can't be read."""
    try:
        if path.is_dir():
            return "folder"
        with path.open("rb") as file:
            return f"{path.stat().st_size} {hashlib.sha256(file.read(4096)).hexdigest()}"
    except OSError:
        return None


@dataclass(frozen=True)
class Raised:
    """An error of the job, which travels as a value: Ray would change its type and its text.

    Attributes:
        error: The error.
    """

    error: Exception


@dataclass(frozen=True)
class Ready:
    """What a worker says when it has prepared a job.

    Attributes:
        host: Name of the node.
        warnings: What was logged meanwhile, which nobody would see there.
    """

    host: str
    warnings: tuple[str, ...] = ()


class Worker:
    """Runs in a process of its own on some node; prepares each job once.

    Args:
        threads: Number of threads that Ray calls ``work`` from.

    Example:
        >>> from functools import partial
        >>> job = partial(partial, pow)  # job(2) is a function that returns 2 to the power of x
        >>> worker = Worker(threads=2)
        >>> ready = worker.prepare(1, Origin.here([]), pickle.dumps(job))
        >>> results, seconds = worker.work([3, 4])
        >>> results
        [8, 16]
    """

    def __init__(self, threads: int):
        self._threads = threads
        self._turn = threading.Lock()
        self._number = 0
        self._work: Callable[[Any], Any] | None = None

    def prepare(self, number: int, origin: Origin, job: bytes) -> Ready | Raised:
        """Return that the worker is ready, or what was wrong.

        Args:
            number: Number of the job; one that comes after a later one is left out, since Ray
                does not keep the order of calls.
            origin: The command's process.
            job: The pickled job.
        """
        host = socket.gethostname()
        with self._turn, _collected_warnings() as warnings:
            if number < self._number:
                return Ready(host)
            self._number, self._work = number, None  # so that two networks never stay in memory
            try:
                origin.settle()
                self._work = pickle.loads(job)(self._threads)
            except Exception as error:
                return _raised(error)
        return Ready(host, tuple(warnings))

    def work(self, items: Sequence[Any]) -> tuple[list[Any], float]:
        """Return a result or an error for each item, and the seconds that they took together."""
        assert self._work is not None
        started, results = time.perf_counter(), []
        for item in items:
            try:
                results.append(self._work(item))
            except Exception as error:
                results.append(_raised(error))
        return results, time.perf_counter() - started


@contextmanager
def _collected_warnings() -> Iterator[list[str]]:
    """Collect the warnings of fusionkit, beside whoever logs them."""
    found: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: found.append(record.getMessage())  # type: ignore[method-assign]
    _LOGGER.addHandler(handler)
    try:
        yield found
    finally:
        _LOGGER.removeHandler(handler)


def _raised(error: Exception) -> Raised:
    if not isinstance(error, FusionkitError):
        error.add_note(f"on the node {socket.gethostname()}:\n{traceback.format_exc()}")
    return Raised(error)
