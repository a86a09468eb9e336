"""Takes over finished stages from other run folders instead of running them again."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from fusionkit.io.atomic_write import atomic_write, make_folder, write_text
from fusionkit.runs.checkpoints import weights_file
from fusionkit.runs.ledger import FinishedStage, Ledger
from fusionkit.runs.run import Run

__all__ = ["adopt_finished_stages"]


def adopt_finished_stages(run: Run, folders: Iterable[Path]) -> tuple[Path, list[str]] | None:
    """Copy the first stages of a run from the folder that has finished most of them.

    A stage is taken over if it and all stages before it have the same digests in the other folder,
    and all their files exist.

    Args:
        run: The run; nothing happens if it has been started before.
        folders: Run folders to look at.

    Returns:
        The folder that the stages come from, and their keys; None if there is nothing to take over.
    """
    if run.ledger.finished() or run.ledger.started():
        return None
    reusable = {folder: _reusable_stages(run, Ledger(folder)) for folder in folders}
    origin = max(reusable, key=lambda folder: len(reusable[folder]), default=None)
    if origin is None or not reusable[origin]:
        return None
    stages = reusable[origin]
    make_folder(run.folder / "checkpoints")
    for key, stage in stages.items():
        _copy_files(stage, origin, run.folder)
        for artifact in stage.artifacts:
            weights = weights_file(origin, artifact, key)
            if weights.is_file():
                _copy(weights, weights_file(run.folder, artifact))  # the newest of this name
    write_text(run.folder / "config.yaml", run.config.to_yaml())
    run.ledger.write_started(run.digests)
    for key, stage in stages.items():
        run.ledger.add(key, stage)
    return origin, list(stages)


def _reusable_stages(run: Run, ledger: Ledger) -> dict[str, FinishedStage]:
    """Return the first stages of a run that another folder has finished, by key."""
    finished = ledger.finished()
    stages: dict[str, FinishedStage] = {}
    for key, digest in run.digests.items():
        stage = finished.get(key)
        if stage is None or stage.digest != digest or ledger.problem(key) is not None:
            break
        stages[key] = stage
    return stages


def _copy_files(stage: FinishedStage, origin: Path, target: Path) -> None:
    for file in (file for files in stage.artifacts.values() for file in files):
        make_folder((target / file).parent)
        _copy(origin / file, target / file)


def _copy(source: Path, target: Path) -> None:
    with atomic_write(target) as temporary:
        shutil.copyfile(source, temporary)
