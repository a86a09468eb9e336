"""Stores the results of finished cells in files named by a hash of everything they depend on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fusionkit.benchmark.identity import digest_of
from fusionkit.benchmark.results import decode_result, encode_result
from fusionkit.interfaces import TaskResult
from fusionkit.io.atomic_write import locked, make_folder, set_aside, write_json

__all__ = ["CellStore"]


class CellStore:
    """A folder with one JSON file for each finished cell.

    Args:
        folder: The folder; it need not exist.
        work: Folder for the working folders of cells; removed when no command works in it.

    Attributes:
        computed: Number of results that this object has computed.
        found: Number of results that this object has found finished.
    """

    def __init__(self, folder: Path, work: Path):
        self.folder = folder
        self.computed = 0
        self.found = 0
        self._work = work

    def get_or_compute(
        self, key: Mapping[str, Any], compute: Callable[[Path], TaskResult]
    ) -> TaskResult:
        """Return the result of a finished cell, or compute and store it.

        Two commands may share the folder of a benchmark: each cell has a working folder of its
        own, and a command that wants a cell waits while another command computes it.

        Args:
            key: Plain values that say everything the result depends on.
            compute: Computes the result in an empty folder, which is removed afterwards.
        """
        name = digest_of(key)
        result = self._get(key)
        # A command that was killed may have left its working folder beside a finished cell.
        if result is not None and not (self._work / name).exists():
            self.found += 1
            return result
        with self._claimed(name) as work:
            result = self._get(key)  # another command may have computed it in the meantime
            if result is not None:
                self.found += 1
                return result
            result = compute(work)
            # Written in the working folder first, so that a kill leaves nothing beside the cells.
            write_json(work / "result.json", {"key": key, "result": encode_result(result)})
            (work / "result.json").replace(self._path(key))
            self.computed += 1
        return result

    def _get(self, key: Mapping[str, Any]) -> TaskResult | None:
        path = self._path(key)
        if not path.is_file():
            return None
        try:
            result = decode_result(json.loads(path.read_text(encoding="utf-8"))["result"])
        except (ValueError, KeyError, TypeError, AttributeError):
            set_aside(path, "it holds no result; the cell is computed again")
            return None
        return result

    @contextmanager
    def _claimed(self, name: str) -> Iterator[Path]:
        """Lock a cell and give an empty working folder; remove the folder at the end."""
        make_folder(self.folder)
        folder = self._work / name
        with locked(self.folder / f"{name}.lock"):
            shutil.rmtree(folder, ignore_errors=True)
            make_folder(folder)
            try:
                yield folder.resolve()
            finally:
                shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # the folder is not empty while other commands work in it
            self._work.rmdir()

    def _path(self, key: Mapping[str, Any]) -> Path:
        return self.folder / f"{digest_of(key)}.json"
