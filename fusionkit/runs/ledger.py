"""Which stages of a run are finished, and the files that they left."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fusionkit.errors import FusionkitError
from fusionkit.interfaces import Stage
from fusionkit.io.atomic_write import write_json

__all__ = ["FinishedStage", "Ledger", "stage_digests"]

_MACHINE_KEYS = ("name", "accelerator", "devices", "num_nodes")
"""Keys of the configuration that no result depends on."""


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
        """Return the finished stages by key.

        Raises:
            FusionkitError: if the file is damaged.
        """
        path = self.folder / "state.json"
        try:
            values = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
            return {key: FinishedStage(**value) for key, value in values.items()}
        except (ValueError, TypeError, AttributeError):
            raise FusionkitError(
                f"{path} is damaged or was written by another version of fusionkit; "
                f"delete it to run all stages again"
            ) from None

    def started(self) -> dict[str, str]:
        """Return key -> digest of all stages, as they were when the run was last started.

        Raises:
            FusionkitError: if the file is damaged.
        """
        path = self.folder / "checkpoints" / "digests.json"
        try:
            return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        except ValueError:
            raise FusionkitError(f"{path} is damaged; delete it and use --restart") from None

    def write_started(self, digests: Mapping[str, str]) -> None:
        """Remember the digests of all stages."""
        write_json(self.folder / "checkpoints" / "digests.json", dict(digests))

    def add(self, key: str, stage: FinishedStage) -> None:
        """Remember that a stage has finished."""
        self._write({**self.finished(), key: stage})

    def keep(self, keys: Sequence[str]) -> None:
        """Forget all other stages, and what they saved to resume from."""
        self._write({key: stage for key, stage in self.finished().items() if key in keys})
        for path in (self.folder / "checkpoints").glob("*.progress.pt"):
            if path.name.removesuffix(".progress.pt") not in keys:
                path.unlink()

    def missing_file(self, key: str) -> Path | None:
        """Return the first file of a finished stage that no longer exists, None if all do."""
        stage = self.finished()[key]
        for files in stage.artifacts.values():
            for file in files:
                if not (self.folder / file).exists():
                    return self.folder / file
        return None

    def _write(self, stages: Mapping[str, FinishedStage]) -> None:
        write_json(
            self.folder / "state.json", {key: asdict(stage) for key, stage in stages.items()}
        )


def stage_digests(config: Mapping[str, Any], stages: Sequence[tuple[str, Stage]]) -> dict[str, str]:
    """Return for each stage a hash of everything that its result depends on.

    Args:
        config: The configuration as plain values.
        stages: Its stages by key, in order. The digest of a stage includes that of the one before.
    """
    values = dict(config)
    specs = values.pop("stages")
    for key in _MACHINE_KEYS:
        values.pop(key)
    digests: dict[str, str] = {}
    before = ""
    for (key, stage), spec in zip(stages, specs, strict=True):
        seen = {name: value for name, value in values.items() if name not in stage.ignores}
        text = json.dumps([before, spec, seen], sort_keys=True)
        before = hashlib.sha256(text.encode()).hexdigest()[:16]
        digests[key] = before
    return digests
