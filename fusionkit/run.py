"""One run: a folder on disk, its state, what is done and what is left."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from fusionkit.config import LoadedConfig, RunConfig
from fusionkit.environment import environment
from fusionkit.errors import FusionkitError
from fusionkit.files import make_folder, replacing, write_json, write_text
from fusionkit.interfaces import (
    Backbone,
    Component,
    ComponentSpec,
    Dataset,
    Loss,
    Sample,
    Sensor,
    Stage,
    TransformGroup,
)
from fusionkit.plugins import Plugins
from fusionkit.weights import load_state, load_weights, save_weights

if TYPE_CHECKING:
    from lightning_fabric import Fabric  # whose import takes seconds, which only training is worth

__all__ = ["Run", "load_module_state"]

Location = tuple[str | int, ...]


class Run:
    """A run folder and everything a stage needs to work in it.

    ``config.yaml`` (resolved, runs again), ``environment.json``, ``state.json`` (which stages are
    done), ``log.jsonl``, ``metrics.json``, ``checkpoints/``, ``samples/``, ``fused/`` and
    ``report.html``. Every file is written beside and renamed into place, but for the log, which
    grows by whole lines.

    Attributes:
        folder: The run folder.
        config: The validated configuration.
        plugins: What its names refer to.
        fabric: Devices and processes; set before the first stage runs.
        stage: Key of the stage that is running, such as ``1-train-backbone``.
    """

    def __init__(self, folder: Path, loaded: LoadedConfig, plugins: Plugins):
        self.folder = folder
        self.config: RunConfig = loaded.config
        self.plugins = plugins
        self.stage = ""
        self.loaded = loaded
        self._fabric: Fabric | None = None

    # What it is made of -------------------------------------------------------------------------

    def build(self, spec: ComponentSpec, location: Location) -> Any:
        """Build a component of the configuration; its initial weights follow from the seed.

        Raises:
            FusionkitError: what the component refuses, with file, line and key.
        """
        with torch.random.fork_rng(devices=[]):
            torch.random.manual_seed(self.seed_for("build", *map(str, location)))
            try:
                return self.plugins.registry.build(spec, self.config.modalities)
            except FusionkitError as error:
                raise self.loaded.error(location, error) from error

    @cached_property
    def data(self) -> Dataset:
        """The scenes to train and validate on."""
        return self._dataset(self.config.data, "data")

    @cached_property
    def test(self) -> Dataset | None:
        """Other scenes to fuse and to evaluate, if the configuration names any."""
        return None if self.config.test is None else self._dataset(self.config.test, "test")

    @cached_property
    def patches(self) -> Sequence[Sample]:
        """What training draws from the scenes of the ``train`` split."""
        patches = self.data.patches(self.data.splits()["train"])
        if not patches:
            raise self.loaded.error(("data",), "the data set has no training patches")
        return patches

    def _dataset(self, spec: ComponentSpec, key: str) -> Dataset:
        dataset: Dataset = self.build(spec, (key,))
        if len(dataset) == 0:
            raise self.loaded.error((key,), "the data set is empty")
        there = dataset[0].images
        if missing := [name for name in self.config.modalities if name not in there]:
            raise self.loaded.error(
                (key,),
                f"the data set {spec.name!r} has no modality {missing[0]!r} "
                f"(it has: {', '.join(there)}); mend `modalities` or the data",
            )
        return dataset

    def backbone(self) -> Backbone:
        """Return the fusion network with its initial weights."""
        return self.build(self.config.backbone, ("backbone",))

    def sensors(self) -> dict[str, Sensor]:
        """Return the pseudo-sensors with their initial weights."""
        return {
            modality: self.build(spec, ("sensors", modality))
            for modality, spec in self.config.sensors.items()
        }

    def teachers(self) -> list[Backbone]:
        """Return the backbones of ``teacher``, none for ``self``."""
        if self.config.teacher == "self":
            return []
        return [
            self.build(spec, ("teacher", index)) for index, spec in enumerate(self.config.teacher)
        ]

    def transforms(self) -> list[tuple[TransformGroup, int]]:
        """Return the groups, each with the number of elements per step."""
        return [
            (self.build(term.component, ("transforms", index)), term.count)
            for index, term in enumerate(self.config.transforms)
        ]

    def losses(self) -> list[tuple[Loss, float]]:
        """Return the terms of the objective with their weights."""
        return [
            (self.build(term.component, ("losses", index)), term.weight)
            for index, term in enumerate(self.config.losses)
        ]

    def stages(self) -> list[tuple[str, Stage]]:
        """Return the stages by key: their place and name."""
        return [
            (f"{index}-{spec.name}", self.build(spec, ("stages", index)))
            for index, spec in enumerate(self.config.stages)
        ]

    def error(self, location: Location, problem: Exception | str) -> FusionkitError:
        """Return the error for a key of the configuration, with file and line."""
        return self.loaded.error(location, problem)

    # Randomness ---------------------------------------------------------------------------------

    def seed_for(self, *purpose: str) -> int:
        """Return a seed that follows from the run's and from what it is for."""
        text = "/".join((str(self.config.seed), self.stage, *purpose))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")

    def generator(self, *purpose: str) -> torch.Generator:
        """Return a new CPU generator for a purpose, different on every process."""
        return torch.Generator().manual_seed(self.seed_for(str(self.fabric.global_rank), *purpose))

    # Files --------------------------------------------------------------------------------------

    @property
    def fabric(self) -> Fabric:
        """Devices, precision and processes."""
        if self._fabric is None:
            raise RuntimeError("the run has not been opened")
        return self._fabric

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files."""
        return self._fabric is None or self._fabric.is_global_zero

    def open(self, fabric: Fabric) -> None:
        """Make the folder and say what runs in it and on what."""
        self._fabric = fabric
        if self.is_first:
            make_folder(self.folder)
            for name in ("checkpoints", "samples"):
                make_folder(self.folder / name)
            write_text(self.folder / "config.yaml", self.config.to_yaml())
            write_json(self.folder / "environment.json", environment(fabric))

    def weights_file(self, name: str, stage: str = "") -> Path:
        """Return where the weights of that name are: the newest, or those a stage left."""
        folder = self.folder / "checkpoints"
        return folder / (f"{stage}.{name}.safetensors" if stage else f"{name}.safetensors")

    def save(
        self, name: str, component: Component, state: dict[str, torch.Tensor] | None = None
    ) -> None:
        """Save what the running stage made; call it on the first process only."""
        save_weights(component, self.weights_file(name, self.stage), state)
        save_weights(component, self.weights_file(name), state)

    def load(self, name: str) -> Any:
        """Rebuild what the last stage before the running one saved, in eval mode; None if none did.

        Never what a later stage left in the folder by an earlier run: a stage that is run again
        must start from where it started the first time.
        """
        keys = list(self.digests())
        before = keys[: keys.index(self.stage)] if self.stage in keys else keys
        for key in reversed(before):
            path = self.weights_file(name, key)
            if path.is_file() and key in self.done():
                return load_weights(path, self.plugins.registry)
        return None

    def progress(self) -> dict[str, Any] | None:
        """Return what the running stage saved when it was interrupted, or None."""
        path = self._progress_file
        if not path.is_file():
            return None
        return torch.load(path, map_location="cpu", weights_only=True)

    def save_progress(self, state: Mapping[str, Any]) -> None:
        """Save what the running stage needs to go on: tensors and plain values."""
        with replacing(self._progress_file) as temporary:
            torch.save(dict(state), temporary)

    @property
    def _progress_file(self) -> Path:
        return self.folder / "checkpoints" / f"{self.stage}.progress.pt"

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Append the numbers of a step to ``log.jsonl`` and hand them to the plugins."""
        if not self.is_first:
            return
        line = {"time": round(time.time(), 3), "stage": self.stage, "step": step, **values}
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self.plugins.manager.hook.fusionkit_log(
            run=self, stage=self.stage, step=step, values=dict(values)
        )

    def logged(self) -> list[dict[str, Any]]:
        """Return the lines of ``log.jsonl``; of a step logged twice after a restart, the last."""
        path = self.folder / "log.jsonl"
        if not path.is_file():
            return []
        lines = {}
        for text in path.read_text(encoding="utf-8").splitlines():
            line = json.loads(text)
            lines[line["stage"], line["step"], *sorted(line)] = line
        return list(lines.values())

    # What is done -------------------------------------------------------------------------------

    def digests(self) -> dict[str, str]:
        """Return for each stage a hash of all that its result follows from."""
        values = self.config.to_dict()
        stages = values.pop("stages")
        for key in ("name", "accelerator", "devices", "num_nodes"):
            values.pop(key)
        digests: dict[str, str] = {}
        before = ""
        for (key, built), stage in zip(self.stages(), stages, strict=True):
            seen = {name: value for name, value in values.items() if name not in built.blind_to}
            text = json.dumps([before, stage, seen], sort_keys=True)
            before = hashlib.sha256(text.encode()).hexdigest()[:16]
            digests[key] = before
        return digests

    def done(self) -> dict[str, str]:
        """Return key -> digest of the stages that have finished in this folder."""
        path = self.folder / "state.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    def begun(self) -> dict[str, str]:
        """Return key -> digest of all stages as they were when the folder was last worked in."""
        path = self.folder / "checkpoints" / "digests.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    def mark_done(self, key: str) -> None:
        """Remember that a stage has finished, and drop what it kept for going on."""
        write_json(self.folder / "state.json", {**self.done(), key: self.digests()[key]})
        self._progress_file.unlink(missing_ok=True)

    def forget_from(self, key: str) -> None:
        """Forget that a stage and those after it have run."""
        keys = list(self.digests())
        kept = keys[: keys.index(key)]
        write_json(self.folder / "state.json", {k: v for k, v in self.done().items() if k in kept})
        for path in (self.folder / "checkpoints").glob("*.progress.pt"):
            if path.name.removesuffix(".progress.pt") not in kept:
                path.unlink()
        log = self.folder / "log.jsonl"
        if log.is_file():
            lines = [
                line
                for line in log.read_text(encoding="utf-8").splitlines()
                if json.loads(line)["stage"] in kept
            ]
            write_text(log, "".join(line + "\n" for line in lines))


def load_module_state(module: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Load a state dict saved with ``save_progress``."""
    load_state(module, state, "the interrupted run")
