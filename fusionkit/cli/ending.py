"""How a command ends: by a result, a fault in one line, or an interruption."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import TextIO

from fusionkit.cli.messages import printable
from fusionkit.errors import FusionkitError

__all__ = ["run_to_the_end"]


_FULL = "free some space"
_REMEDIES = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: _FULL,
    errno.EIO: "check the disk or terminal that it goes to",
}
_BAD_PATH = (
    errno.EACCES,
    errno.EIO,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENODEV,
    errno.ENOTDIR,
    errno.ENXIO,
    errno.EPERM,
    errno.EROFS,
    errno.ESTALE,
)
"""What is wrong with a path that somebody named; no bug leads to it."""


class _Interrupted(BaseException):
    """Ctrl-C; click would answer a KeyboardInterrupt in its own words."""


def run_to_the_end(command: Callable[[], object]) -> None:
    """Run a command; end the process with an exit code, and at most one line about a fault.

    Exit codes: 0 for success, 2 for a mistake of the user or a fault of the machine, 1 for a bug,
    130 for an interruption. A first Ctrl-C lets files that are being written end well; a second
    one stops at once.

    Raises:
        SystemExit: always, except for a bug.

    Example:
        >>> def fail():
        ...     raise FusionkitError("expected two sources, found one")
        >>> run_to_the_end(fail)
        Traceback (most recent call last):
        SystemExit: 2
    """
    process, interrupted = os.getpid(), False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        if os.getpid() != process:
            return  # a worker; its parent ends it
        interrupted = True
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        raise _Interrupted

    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:  # as shells set it for commands in the background
        signal.signal(signal.SIGINT, interrupt)
    try:
        _run(command)
    except BaseException as error:
        # An interruption in the middle of a lock becomes any other error on its way.
        if interrupted:
            _say(
                "interrupted; started again, `fuse`, `run`, `bench` and `data get` go on where "
                "they stopped"
            )
            sys.exit(130)
        if isinstance(error, FusionkitError):
            _say(f"error: {error}")
            sys.exit(2)
        if isinstance(error, OSError) and error.filename and error.errno in _BAD_PATH:
            _say(f"error: {error.filename} can't be used: {error.strerror}")
            sys.exit(2)
        raise
    finally:
        signal.signal(signal.SIGINT, before)
    sys.exit(0)


def _run(command: Callable[[], object]) -> None:
    """Run a command; raise FusionkitError if what it printed can't be written."""
    try:
        try:
            command()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as `head`, has enough
        _silence(sys.stdout)
        sys.exit(1)
    except OSError as error:
        if error.errno not in _REMEDIES or error.filename is not None:
            raise
        _silence(sys.stdout)
        raise FusionkitError(
            f"output can't be written: {error.strerror}; {_REMEDIES[error.errno]}"
        ) from error


def _silence(stream: TextIO) -> None:
    """Send a stream to nowhere; Python writes to it once more when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _say(line: str) -> None:
    try:
        print(printable(line), file=sys.stderr, flush=True)
    except OSError:
        _silence(sys.stderr)
