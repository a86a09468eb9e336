"""A run: a configuration, its folder on disk, and the context that each stage works in."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from fusionkit.config.run_config import LoadedConfig, RunConfig
from fusionkit.errors import FusionkitError
from fusionkit.inference.records import FOLDER
from fusionkit.interfaces import Backbone, RunContext, Sensor, Stage
from fusionkit.io.atomic_write import make_folder, remove_leftovers, write_json, write_text
from fusionkit.registry.plugins import Plugins
from fusionkit.runs.checkpoints import StageCheckpoints, weights_file
from fusionkit.runs.components import Datasets, RunComponents, build_located
from fusionkit.runs.environment import environment
from fusionkit.runs.ledger import FinishedStage, Ledger, stage_digests
from fusionkit.runs.log import LogFile, StageLog
from fusionkit.runs.seeds import StageSeeds

if TYPE_CHECKING:
    from lightning_fabric import Fabric  # importing it takes seconds; only training needs it

__all__ = ["Run", "StageContext"]


@dataclass(frozen=True)
class StageContext:
    """What one stage sees of its run; implements :class:`fusionkit.interfaces.RunContext`."""

    folder: Path
    stage: str
    config: RunConfig
    components: RunComponents
    checkpoints: StageCheckpoints
    log: StageLog
    seeds: StageSeeds
    opened_fabric: Fabric | None

    @property
    def fabric(self) -> Fabric:
        """Devices, precision and processes."""
        if self.opened_fabric is None:
            raise RuntimeError("the run has not been opened")
        return self.opened_fabric

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files."""
        return self.opened_fabric is None or self.opened_fabric.is_global_zero

    def current_backbone(self) -> Backbone:
        """Return the fusion network as the stages before this one left it."""
        if self.checkpoints.exists("backbone"):
            return self.checkpoints.load("backbone")
        return self.components.build_backbone()

    def current_sensors(self) -> dict[str, Sensor]:
        """Return the pseudo-sensors as the stages before this one left them, by modality."""
        return {
            modality: self.checkpoints.load(f"sensor-{modality}")
            if self.checkpoints.exists(f"sensor-{modality}")
            else sensor
            for modality, sensor in self.components.build_sensors().items()
        }


class Run:
    """A configuration and its run folder.

    The folder holds ``config.yaml`` (complete, runs again), ``environment.json``, ``state.json``
    (finished stages), ``log.jsonl``, ``metrics.json``, ``checkpoints/``, ``samples/``, ``fused/``
    and ``report.html``. Every file is written beside its place and renamed, except the log, which
    grows by complete lines.

    Args:
        folder: The run folder; it need not exist.
        loaded: The validated configuration.
        plugins: The installed plugins.
    """

    def __init__(self, folder: Path, loaded: LoadedConfig, plugins: Plugins):
        self.folder = folder
        self.loaded = loaded
        self.config: RunConfig = loaded.config
        self.plugins = plugins
        self.ledger = Ledger(folder)
        self.log = LogFile(folder / "log.jsonl")
        self.datasets = Datasets(loaded, plugins.registry)
        self._fabric: Fabric | None = None

    @cached_property
    def stages(self) -> dict[str, Stage]:
        """The stages by key (position and name), in order."""
        seeds = StageSeeds(self.config.seed, "")
        return {
            f"{k}-{spec.name}": build_located(
                self.loaded, self.plugins.registry, seeds, spec, ("stages", k)
            )
            for k, spec in enumerate(self.config.stages)
        }

    @cached_property
    def digests(self) -> dict[str, str]:
        """For each stage a hash of everything that its result depends on."""
        return stage_digests(self.config.to_dict(), list(self.stages.items()))

    def open(self, fabric: Fabric) -> None:
        """Set devices and processes; create the folder and record configuration and environment."""
        self._fabric = fabric
        if fabric.is_global_zero:
            for name in ("checkpoints", "samples"):
                make_folder(self.folder / name)
            write_text(self.folder / "config.yaml", self.config.to_yaml())
            write_json(self.folder / "environment.json", environment(fabric))

    def context(self, key: str = "") -> StageContext:
        """Return what the stage ``key`` works with; an empty key for what belongs to no stage."""
        rank = 0 if self._fabric is None else self._fabric.global_rank
        seeds = StageSeeds(self.config.seed, key, rank)
        keys = list(self.stages) if key else []
        before = tuple(keys[: keys.index(key)]) if key else ()
        is_first = self._fabric is None or self._fabric.is_global_zero

        def notify(step: int, values: Mapping[str, float]) -> None:
            self.plugins.manager.hook.fusionkit_log(
                run=context, stage=key, step=step, values=values
            )

        context = StageContext(
            folder=self.folder,
            stage=key,
            config=self.config,
            components=RunComponents(self.loaded, self.plugins.registry, seeds, self.datasets),
            checkpoints=StageCheckpoints(self.ledger, self.plugins.registry, key, before),
            log=StageLog(self.log, key, is_first, notify),
            seeds=seeds,
            opened_fabric=self._fabric,
        )
        return context

    def finish(self, key: str, context: StageContext) -> None:
        """Record that a stage has finished, with the files of its artifacts.

        Raises:
            FusionkitError: if the stage did not write an artifact that it declares.
        """
        artifacts = {
            artifact: self._files_of(key, artifact) for artifact in self._produced(key, context)
        }
        self.ledger.add(key, FinishedStage(self.digests[key], artifacts))
        context.checkpoints.clear_progress()

    def repair(self) -> None:
        """Remove half-written files; keep damaged records under another name, and go on."""
        for place, folders, _ in os.walk(self.folder):
            if FOLDER in folders:  # results of `fusionkit fuse`, which looks after them
                folders.clear()
            else:
                remove_leftovers([Path(place)])
        self.ledger.repair()
        self.log.repair()

    def forget_from(self, key: str) -> None:
        """Forget that a stage and those after it have run."""
        keys = list(self.stages)
        kept = keys[: keys.index(key)]
        self.ledger.keep(kept)
        self.log.keep_stages(kept)

    def check_components(self) -> None:
        """Build every component once.

        Raises:
            FusionkitError: if a component refuses its arguments, with file, line and key.
        """
        components = self.context().components
        components.build_backbone()
        components.build_sensors()
        components.build_teachers()
        components.build_transforms()
        components.build_losses()

    def check_artifacts(self) -> None:
        """Check that each stage's required artifacts are produced by a stage before it.

        Raises:
            FusionkitError: for a stage whose artifacts nothing produces, with file, line and key.
        """
        there: set[str] = set()
        for index, key in enumerate(self.stages):
            context = self.context(key)
            for artifact in self.stages[key].requires(context):
                if artifact not in there:
                    raise self.loaded.error(
                        ("stages", index),
                        f"{self.stages[key].name} needs {artifact!r}, and no stage before it "
                        f"produces it",
                    )
            there.update(self._produced(key, context))

    def _produced(self, key: str, context: RunContext) -> tuple[str, ...]:
        return tuple(self.stages[key].produces(context))

    def _files_of(self, key: str, artifact: str) -> list[str]:
        """Return the files of an artifact relative to the run folder."""
        weights = weights_file(self.folder, artifact, key)
        place = self.folder / artifact
        if weights.is_file():
            files = [weights]
        elif place.is_dir():
            files = sorted(path for path in place.rglob("*") if path.is_file())
        else:
            files = [place]
        if not files or not files[0].exists():
            raise FusionkitError(
                f"the stage {key} declares that it produces {artifact!r}, but wrote neither "
                f"{weights} nor {place}"
            )
        return [str(path.relative_to(self.folder)) for path in files]
