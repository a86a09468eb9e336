"""Failures: the pairs of a folder that could not be fused, with the reason for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fusionkit.io.atomic_write import write_text
from fusionkit.io.csv_text import csv_text

__all__ = ["FAILURES", "Failure", "write_failures"]

FAILURES = "failures.csv"
"""Name of the file in the output folder."""
_COLUMNS = ("id", "files", "reason")


@dataclass(frozen=True)
class Failure:
    """A pair that could not be fused.

    Attributes:
        id: Name of the scene.
        files: Its files, in the order of the sources.
        reason: What was wrong, in a sentence.
    """

    id: str
    files: tuple[Path, ...]
    reason: str


def write_failures(folder: Path, failures: Sequence[Failure], name: str = FAILURES) -> Path | None:
    """Write ``failures.csv`` with a line for each failure; without failures, remove an old one.

    Args:
        folder: The output folder.
        failures: Columns ``id``, ``files`` (separated by ``|``) and ``reason``.
        name: Name of the file.

    Returns:
        The file, or None without failures.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     failure = Failure("a", (Path("ir/a.png"), Path("vi/a.png")), "a.png is damaged")
        ...     path = write_failures(Path(folder), [failure])
        ...     print(path.read_text(), end="")
        id,files,reason
        a,ir/a.png|vi/a.png,a.png is damaged
    """
    path = folder / name
    if not failures:
        if path.is_file() and path.read_bytes().startswith(",".join(_COLUMNS).encode()):
            path.unlink()  # a file of that name that is not ours stays
        return None
    rows = [(f.id, "|".join(str(file) for file in f.files), f.reason) for f in failures]
    write_text(path, csv_text([_COLUMNS, *rows]))
    return path
