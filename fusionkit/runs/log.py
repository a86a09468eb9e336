"""The numbers that stages log: ``log.jsonl``, one JSON object per line."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from fusionkit.io.atomic_write import append_line, set_aside, write_text

__all__ = ["LogFile", "StageLog"]


class LogFile:
    """The file ``log.jsonl`` of a run folder. It grows by complete lines.

    Args:
        path: The file; it need not exist.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     log = LogFile(Path(folder) / "log.jsonl")
        ...     log.append("0-train", 1, {"loss": 0.5})
        ...     [(entry["step"], entry["loss"]) for entry in log.read()]
        [(1, 0.5)]
    """

    def __init__(self, path: Path):
        self.path = path

    def append(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Append one entry."""
        entry = {"time": round(time.time(), 3), "stage": stage, "step": step, **values}
        append_line(self.path, json.dumps(entry))

    def read(self) -> list[dict[str, Any]]:
        """Return all entries, oldest first; of a step logged twice after a restart, the last.

        Damaged lines are left out.
        """
        entries = {}
        for line in self._lines():
            entry = _parse(line)
            if entry is not None:
                entries[entry["stage"], entry["step"], *sorted(entry)] = entry
        return list(entries.values())

    def keep_stages(self, stages: Collection[str]) -> None:
        """Remove the entries of all other stages."""
        if self.path.is_file():
            self._write(
                line for line in self._lines() if (_parse(line) or {}).get("stage") in stages
            )

    def repair(self) -> None:
        """Keep a damaged log under another name, and go on with the lines that can be read."""
        lines = self._lines()
        sound = [line for line in lines if _parse(line) is not None]
        if len(sound) < len(lines):
            bad = len(lines) - len(sound)
            set_aside(self.path, f"{bad} of {len(lines)} lines can't be read; the others stay")
            self._write(sound)

    def _lines(self) -> list[bytes]:
        return self.path.read_bytes().splitlines() if self.path.is_file() else []

    def _write(self, lines: Iterable[bytes]) -> None:
        write_text(self.path, "".join(line.decode() + "\n" for line in lines))


def _parse(line: bytes) -> dict[str, Any] | None:
    """Return an entry, or None for a damaged line."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict):
        return None
    step = entry.get("step")
    whole = isinstance(entry.get("stage"), str) and isinstance(step, int) and abs(step) < 1 << 63
    return entry if whole else None


class StageLog:
    """What one stage logs.

    Args:
        file: The log of the run.
        stage: Key of the stage.
        writes: Whether this process writes; only the first one does.
        notify: Called with step and values after each entry; passes them to the plugins.
    """

    def __init__(
        self,
        file: LogFile,
        stage: str,
        writes: bool,
        notify: Callable[[int, Mapping[str, float]], None],
    ):
        self._file = file
        self._stage = stage
        self._writes = writes
        self._notify = notify

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Append the numbers of a step and pass them to the plugins; the first process writes."""
        if self._writes:
            self._file.append(self._stage, step, values)
            self._notify(step, dict(values))

    def read(self) -> list[dict[str, Any]]:
        """Return all entries of the run, oldest first."""
        return self._file.read()
