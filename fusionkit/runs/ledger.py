"""Which stages of a run are finished, and the files that they left."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from fusionkit.errors import FusionkitError
from fusionkit.interfaces import Stage
from fusionkit.io.atomic_write import set_aside, write_json
from fusionkit.registry.weights import read_header

__all__ = ["FinishedStage", "Ledger", "stage_digests"]

T = TypeVar("T")

_MACHINE_KEYS = ("name", "accelerator", "activation_checkpointing")
"""Keys of the configuration that no result depends on."""

_ROUNDING = {"devices": 1, "num_nodes": 1, "compile": False}
"""Keys that change the rounding of results, and the values that leave it as it is."""


@dataclass(frozen=True)
class FinishedStage:
    """A stage that has finished.

    Attributes:
        digest: Hash of everything that its result depends on.
        artifacts: Artifact -> its files, relative to the run folder.
    """

    digest: str
    artifacts: Mapping[str, Sequence[str]]


class Ledger:
    """``state.json``: what has finished, and ``checkpoints/digests.json``: what was started.

    Args:
        folder: The run folder.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def finished(self) -> dict[str, FinishedStage]:
        """Return the finished stages by key; none if the file is damaged."""
        return _read(self._state, _parse_finished) or {}

    def started(self) -> dict[str, str]:
        """Return key -> digest of all stages, as they were when the run was last started.

        If the file is damaged, only the finished stages are known.
        """
        started = _read(self._digests, _parse_started)
        if started is not None:
            return started
        return {key: stage.digest for key, stage in self.finished().items()}

    def worked_on(self) -> set[str]:
        """Return the keys of the stages that have left results, or progress to resume from."""
        finished = _read(self._state, _parse_finished)
        # If the file is damaged, any stage may have finished.
        keys = set(self.started()) if finished is None else set(finished)
        if _read(self._digests, _parse_started) is None:
            return keys  # `repair` sets progress aside, as its configuration is not known
        return keys | {_stage_of(path) for path in self._progress_files()}

    def repair(self) -> None:
        """Keep damaged files under another name; what they recorded is done again."""
        if _read(self._digests, _parse_started) is None:
            set_aside(self._digests, "stages that have not finished start again")
            for path in self._progress_files():
                set_aside(path, "it is not known which configuration it belongs to")
        if _read(self._state, _parse_finished) is None:
            set_aside(self._state, "it is not known which stages have finished; all run again")

    def write_started(self, digests: Mapping[str, str]) -> None:
        """Remember the digests of all stages."""
        write_json(self._digests, dict(digests))

    def add(self, key: str, stage: FinishedStage) -> None:
        """Remember that a stage has finished."""
        self._write({**self.finished(), key: stage})

    def keep(self, keys: Sequence[str]) -> None:
        """Forget all other stages, and what they saved to resume from."""
        self._write({key: stage for key, stage in self.finished().items() if key in keys})
        for path in self._progress_files():
            if _stage_of(path) not in keys:
                path.unlink()

    def problem(self, key: str) -> str | None:
        """Return what is wrong with the first bad file of a finished stage, None if all are there.

        Weights must have a sound header; of other files only the existence is checked.
        """
        stage = self.finished()[key]
        for file in (self.folder / file for files in stage.artifacts.values() for file in files):
            if not file.exists():
                return f"its file {file} is missing"
            if file.suffix == ".safetensors":
                try:
                    read_header(file)
                except FusionkitError as error:
                    return f"its file {file} is damaged: {error}"
        return None

    @property
    def _state(self) -> Path:
        return self.folder / "state.json"

    @property
    def _digests(self) -> Path:
        return self.folder / "checkpoints" / "digests.json"

    def _progress_files(self) -> list[Path]:
        return sorted((self.folder / "checkpoints").glob("*.progress.pt"))

    def _write(self, stages: Mapping[str, FinishedStage]) -> None:
        write_json(self._state, {key: asdict(stage) for key, stage in stages.items()})


def _stage_of(progress: Path) -> str:
    return progress.name.removesuffix(".progress.pt")


def _read(path: Path, parse: Callable[[Any], T]) -> T | None:
    """Return what a file holds, or would hold if it does not exist; None if it is damaged."""
    try:
        return parse(json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {})
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None


def _parse_finished(values: Any) -> dict[str, FinishedStage]:
    stages = {key: FinishedStage(**value) for key, value in values.items()}
    for stage in stages.values():
        for files in stage.artifacts.values():
            if not (isinstance(files, list) and all(isinstance(file, str) for file in files)):
                raise TypeError("expected lists of files")
    return stages


def _parse_started(values: Any) -> dict[str, str]:
    if not all(isinstance(digest, str) for digest in values.values()):
        raise TypeError("expected digests")
    return values


def stage_digests(config: Mapping[str, Any], stages: Sequence[tuple[str, Stage]]) -> dict[str, str]:
    """Return for each stage a hash of everything that its result depends on.

    Args:
        config: The configuration as plain values.
        stages: Its stages by key, in order. The digest of a stage includes that of the one before.
    """
    values = dict(config)
    specs = values.pop("stages")
    for key in _MACHINE_KEYS:
        values.pop(key, None)
    for key, default in _ROUNDING.items():
        if values.get(key) == default:
            values.pop(key)
    digests: dict[str, str] = {}
    before = ""
    for (key, stage), spec in zip(stages, specs, strict=True):
        seen = {name: value for name, value in values.items() if name not in stage.ignores}
        text = json.dumps([before, spec, seen], sort_keys=True)
        before = hashlib.sha256(text.encode()).hexdigest()[:16]
        digests[key] = before
    return digests
