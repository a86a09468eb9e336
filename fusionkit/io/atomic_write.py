"""Atomic writing: a file appears complete or not at all."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from fusionkit.errors import FusionkitError, WriteError

__all__ = ["TEMPORARY", "atomic_write", "locked", "make_folder", "write_json", "write_text"]

TEMPORARY = ".fusionkit-"
"""Beginning of the names of files that are not complete yet."""


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` with the same suffix; rename it at the end.

    Raises:
        WriteError: if the folder can't be written, or the disk is full.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "numbers.txt"
        ...     with atomic_write(path) as temporary:
        ...         _ = temporary.write_text("1 2 3")
        ...     path.read_text()
        '1 2 3'
    """
    try:
        handle, name = tempfile.mkstemp(prefix=TEMPORARY, suffix=path.suffix, dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise WriteError(f"{path} can't be written: {error.strerror}") from None
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp creates private files; use the permissions of other new files.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise WriteError(f"{path} can't be written: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_text(Path(folder) / "a.txt", "grey")
        ...     (Path(folder) / "a.txt").read_text()
        'grey'
    """
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_json(Path(folder) / "a.json", {"pairs": 3})
        ...     json.loads((Path(folder) / "a.json").read_text())
        {'pairs': 3}
    """
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def make_folder(folder: Path) -> None:
    """Create a folder and its parents, and check that it can be written.

    Raises:
        FusionkitError: if it is a file, or can't be made or written.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     make_folder(Path(folder) / "fused" / "tno")
        ...     (Path(folder) / "fused" / "tno").is_dir()
        True
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (FileExistsError, NotADirectoryError):
        raise FusionkitError(f"{folder} can't be an output folder: a file stands there") from None
    except OSError as error:
        raise FusionkitError(f"the folder {folder} can't be written: {error.strerror}") from None


@contextmanager
def locked(path: Path, busy: str | None = None) -> Iterator[None]:
    """Hold a lock file, which only one process can hold; it is released if the process dies.

    Args:
        path: The lock file, in a folder that is there.
        busy: Message of the error if another process holds it; None waits for that process.

    Raises:
        FusionkitError: ``busy``, if another process holds it.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder, locked(Path(folder) / ".lock"):
        ...     print("alone")
        alone
    """
    lock = FileLock(path)
    try:
        lock.acquire(timeout=-1 if busy is None else 0)
    except Timeout:
        raise FusionkitError(busy or f"{path} is held by another process") from None
    try:
        yield
    finally:
        lock.release()
