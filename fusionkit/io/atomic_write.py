"""Safe writing: a file appears complete or not at all, and a fault is one sentence."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from fusionkit.errors import FusionkitError, WriteError

__all__ = [
    "TEMPORARY",
    "append_line",
    "atomic_write",
    "locked",
    "make_folder",
    "remove_leftovers",
    "set_aside",
    "write_error",
    "write_json",
    "write_text",
]

logger = logging.getLogger("fusionkit")

TEMPORARY = ".fusionkit-"
"""Beginning of the names of files that are not complete yet."""

_APPENDING = threading.Lock()
_FULL = "free some space, and run the same command again"
_FORBIDDEN = "allow it, or name another folder"
_REMEDIES = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: _FULL,
    errno.EACCES: _FORBIDDEN,
    errno.EPERM: _FORBIDDEN,
    errno.EROFS: _FORBIDDEN,
    errno.EIO: "check the disk, and run the same command again",
}


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` with the same suffix; rename it at the end.

    Libraries report a full disk in many ways: ``torch.save`` by a RuntimeError, Pillow and tifffile
    by an OSError without a number. So if anything fails inside the ``with`` block, the cause is
    searched in the error, and then by writing to the folder.

    Raises:
        WriteError: if the file can't be written, for instance because the disk is full.

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
        raise write_error(path, error) from error
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp creates private files; use the permissions of other new files.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
    except FusionkitError:
        raise
    except Exception as error:
        cause = _find_cause(error, temporary)
        if cause is None:
            raise
        raise write_error(path, cause) from error
    finally:
        with suppress(OSError):  # of a folder that can't be written, an error is under way already
            temporary.unlink(missing_ok=True)


def write_error(path: Path, cause: OSError) -> WriteError:
    """Return the error for a file that can't be written, with what to do about it.

    Example:
        >>> print(write_error(Path("a.png"), OSError(errno.ENOSPC, "No space left")))
        a.png can't be written: No space left; free some space, and run the same command again
    """
    remedy = _REMEDIES.get(cause.errno or 0)
    return WriteError(
        f"{path} can't be written: {cause.strerror or cause}" + (f"; {remedy}" if remedy else "")
    )


def _find_cause(error: BaseException, temporary: Path) -> OSError | None:
    """Return why a file could not be written; None if something else went wrong."""
    unnumbered = None
    link: BaseException | None = error
    while link is not None:
        number = re.search(r"\(os error (\d+)\)", str(link))  # as libraries in Rust say it
        if number:
            return OSError(int(number[1]), os.strerror(int(number[1])))
        if isinstance(link, OSError) and link.filename not in (None, temporary, str(temporary)):
            return None  # another file, such as a source
        if isinstance(link, OSError) and link.errno is not None:
            return link
        if isinstance(link, OSError):
            unnumbered = link
        link = link.__cause__ or link.__context__
    try:
        with tempfile.TemporaryFile(dir=temporary.parent, buffering=0) as file:
            file.write(bytes(1 << 16))
            file.write(b"0")  # a first write may be cut short without an error
    except OSError as cause:
        return cause
    return unnumbered


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, in UTF-8; what UTF-8 does not have becomes an escape.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_text(Path(folder) / "a.txt", "grey")
        ...     (Path(folder) / "a.txt").read_text()
        'grey'
    """
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_json(Path(folder) / "a.json", {"pairs": 3})
        ...     json.loads((Path(folder) / "a.json").read_text())
        {'pairs': 3}
    """
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def append_line(path: Path, line: str) -> None:
    """Append a line to a text file; the file keeps complete lines even if the disk is full.

    Threads of one process may append to the same file.

    Args:
        path: The file; it need not exist.
        line: The text, without a line break.

    Raises:
        WriteError: if the file can't be written.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for number in range(3):
        ...         append_line(Path(folder) / "log", f"step {number}")
        ...     (Path(folder) / "log").read_text().splitlines()
        ['step 0', 'step 1', 'step 2']
    """
    data = line.encode() + b"\n"
    try:
        with _APPENDING, path.open("a+b", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            if end:
                file.seek(end - 1)
                if file.read(1) != b"\n":  # a crash of the machine left half a line
                    data = b"\n" + data
            try:
                left = memoryview(data)
                while left:
                    left = left[file.write(left) :]  # a full disk may take a part of it
            except OSError:
                file.truncate(end)
                raise
    except OSError as error:
        raise write_error(path, error) from error


def set_aside(path: Path, reason: str) -> None:
    """Rename a damaged file to ``NAME.damaged``, and log a warning that names it.

    Args:
        path: The file; nothing happens if another command has set it aside in the meantime.
        reason: What is wrong, and what follows.

    Raises:
        WriteError: if it can't be renamed.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "state.json"
        ...     _ = path.write_text("{")
        ...     set_aside(path, "it ends in the middle")
        ...     [path.name for path in Path(folder).iterdir()]
        ['state.json.damaged']
    """
    aside = path.with_name(f"{path.name}.damaged")
    try:
        path.replace(aside)
    except FileNotFoundError:
        return
    except OSError as error:
        raise write_error(aside, error) from error
    logger.warning("%s is damaged (%s); it is kept as %s", path, reason, aside.name)


def remove_leftovers(folders: Iterable[Path]) -> None:
    """Remove what killed commands left half written in folders that nobody else writes to.

    Args:
        folders: Folders to search, not those below them; they need not exist.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, f"{TEMPORARY}x.png").write_bytes(b"half")
        ...     _ = Path(folder, "a.png").write_bytes(b"whole")
        ...     remove_leftovers([Path(folder)])
        ...     [path.name for path in Path(folder).iterdir()]
        ['a.png']
    """
    for folder in folders:
        for leftover in folder.glob(f"{TEMPORARY}*"):
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Create a folder and its parents, and check that it can be written.

    Raises:
        WriteError: if it is a file, or can't be made or written.

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
        raise WriteError(f"{folder} can't be an output folder: a file stands there") from None
    except OSError as error:
        raise write_error(folder, error) from error


@contextmanager
def locked(path: Path, busy: str | None = None) -> Iterator[None]:
    """Hold a lock file, which only one process can hold; it is released if the process dies.

    Args:
        path: The lock file, in a folder that is there.
        busy: Message of the error if another process holds it; None waits for that process.

    Raises:
        FusionkitError: ``busy``, if another process holds it.
        WriteError: if the file can't be written.

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
    except OSError as error:
        raise write_error(path, error) from error
    try:
        yield
    finally:
        lock.release()
