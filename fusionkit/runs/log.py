"""The numbers that stages log: ``log.jsonl``, one JSON object per line."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from fusionkit.io.atomic_write import write_text

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
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def read(self) -> list[dict[str, Any]]:
        """Return all entries, oldest first; of a step logged twice after a restart, the last."""
        entries = {}
        for text in self._lines():
            entry = json.loads(text)
            entries[entry["stage"], entry["step"], *sorted(entry)] = entry
        return list(entries.values())

    def keep_stages(self, stages: Collection[str]) -> None:
        """Remove the entries of all other stages."""
        if not self.path.is_file():
            return
        kept = [line for line in self._lines() if json.loads(line)["stage"] in stages]
        write_text(self.path, "".join(line + "\n" for line in kept))

    def _lines(self) -> list[str]:
        if not self.path.is_file():
            return []
        return self.path.read_text(encoding="utf-8").splitlines()


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
