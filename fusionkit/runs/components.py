"""Builds the components that a configuration names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple

import torch

from fusionkit.config.run_config import LoadedConfig
from fusionkit.errors import FusionkitError
from fusionkit.evaluation.scores import metrics_of
from fusionkit.inference.parallel import cores, in_processes
from fusionkit.interfaces import (
    Backbone,
    ComponentSpec,
    Dataset,
    Loss,
    Metric,
    Patches,
    Sample,
    Sensor,
    TransformGroup,
)
from fusionkit.io.tensor_store import TensorStore
from fusionkit.registry.arguments import make_spec
from fusionkit.registry.components import Registry
from fusionkit.runs.seeds import StageSeeds

__all__ = ["Datasets", "RunComponents", "StoredPatches", "build_located"]

_NOTHING = torch.empty(0)

FEWEST = 32
"""Scenes whose patches are worth starting processes for."""

_MOST_PROCESSES = 8

Location = tuple[str | int, ...]


def build_located(
    loaded: LoadedConfig, registry: Registry, seeds: StageSeeds, spec: ComponentSpec, at: Location
) -> Any:
    """Build a component of the configuration; its initial weights depend on the seed alone.

    Args:
        loaded: The configuration, for the place of an error.
        registry: The installed components.
        seeds: Seeds of the stage that builds it.
        spec: The component.
        at: Its key in the configuration.

    Raises:
        FusionkitError: if the component refuses its arguments, with file, line and key.
    """
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(seeds.seed_for("build", *map(str, at)))
        try:
            return registry.build(spec, loaded.config.modalities)
        except FusionkitError as error:
            raise loaded.error(at, error) from error


class Datasets:
    """The data sets of a run, each opened once and checked.

    Args:
        loaded: The configuration.
        registry: The installed components.
    """

    def __init__(self, loaded: LoadedConfig, registry: Registry):
        self._loaded = loaded
        self._registry = registry

    @cached_property
    def data(self) -> Dataset:
        """The data set to train and to validate on."""
        return self._open(self._loaded.config.data, "data")

    @cached_property
    def test(self) -> Dataset | None:
        """The data set of the key ``test``, or None."""
        spec = self._loaded.config.test
        return None if spec is None else self._open(spec, "test")

    @cached_property
    def patches(self) -> StoredPatches:
        """The training patches of the split ``train``; at least one."""
        patches = self.data.patches(self.data.splits()["train"])
        if not patches:
            raise self._loaded.error(("data",), "the data set has no training patches")
        return StoredPatches(patches)

    def _open(self, spec: ComponentSpec, key: str) -> Dataset:
        seeds = StageSeeds(self._loaded.config.seed, "")
        dataset: Dataset = build_located(self._loaded, self._registry, seeds, spec, (key,))
        if len(dataset) == 0:
            raise self._loaded.error((key,), "the data set is empty")
        found = dataset[0].images
        modalities = self._loaded.config.modalities
        if missing := [name for name in modalities if name not in found]:
            raise self._loaded.error(
                (key,),
                f"the data set {spec.name!r} has no modality {missing[0]!r} "
                f"(it has: {', '.join(found)}); correct `modalities` or the data",
            )
        return dataset


class _Patch(NamedTuple):
    """What one process tells another of a training patch; both have the images."""

    number: int
    modalities: tuple[str, ...]
    id: str
    crop: tuple[int, int] | None
    bits: int


class StoredPatches(Sequence[Sample]):
    """Training patches that are made once: at their first use, or by other processes before it.

    The patches of one scene are made together, so that each file is opened once. Their images are
    stored, and what else belongs to a patch is not: masks, boxes, chroma.

    Args:
        patches: What makes them; how depends on the number of a patch only.

    Example:
        >>> image = torch.zeros(1, 16, 16)
        >>> made = [Sample("a", {"infrared": image, "visible": image + 1})]
        >>> patches = StoredPatches(made)
        >>> [patches[0].images["visible"].max().item() for _ in range(2)]
        [1.0, 1.0]
    """

    def __init__(self, patches: Sequence[Sample]):
        self._patches = patches
        self._images = TensorStore(len(patches))
        self._rest: dict[int, Sample] = {}
        self._coming: set[int] = set()
        self._made: Iterator[list[_Patch]] = iter(())

    def __len__(self) -> int:
        return len(self._patches)

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        """Return a patch; IndexError past the end.

        Raises:
            FusionkitError: if it has another size than the first one that was used.
        """
        index = range(len(self))[index]
        while index in self._coming:
            self._keep(next(self._made))
            if not self._coming:
                self._made = iter(())  # ends the processes
        if index not in self._images:
            self._keep(self._make(self._together(index)))
        rest = self._rest[index]
        images = self._images.get(index)
        return replace(rest, images=dict(zip(rest.images, images, strict=True)))

    def prefetch(self, indices: Sequence[int]) -> None:
        """Let other processes make patches, in the order in which they will be used.

        Args:
            indices: Their numbers; those that are stored already are left out.
        """
        groups: list[Sequence[int]] = []
        found: set[int] = set()
        for index in indices:
            if index not in found and index not in self._images:
                groups.append(self._together(index))
                found.update(groups[-1])
        self._made, self._coming = iter(()), set()  # ends the processes of an earlier call
        if len(groups) >= FEWEST:
            # The first patch reserves the memory that the processes share.
            self._keep(self._make(groups[0]))
            found.difference_update(groups[0])
            workers = min(cores(), _MOST_PROCESSES)
            self._made, self._coming = in_processes(self._make, groups[1:], workers), found

    def _together(self, index: int) -> Sequence[int]:
        return self._patches.together(index) if isinstance(self._patches, Patches) else (index,)

    def _make(self, indices: Sequence[int]) -> list[_Patch]:
        made = []
        for index in indices:
            patch = self._patches[index]
            try:
                self._images.put(index, torch.stack(list(patch.images.values())))
            except ValueError as error:
                raise FusionkitError(f"patch of {patch.id}: {error}") from None
            made.append(_Patch(index, tuple(patch.images), patch.id, patch.crop, patch.bits))
        return made

    def _keep(self, patches: list[_Patch]) -> None:
        for patch in patches:
            nothing = dict.fromkeys(patch.modalities, _NOTHING)
            self._rest[patch.number] = Sample(patch.id, nothing, crop=patch.crop, bits=patch.bits)
            self._images.note(patch.number)
            self._coming.discard(patch.number)


class RunComponents:
    """Builds the components of a configuration for one stage.

    Args:
        loaded: The configuration.
        registry: The installed components.
        seeds: Seeds of the stage; the initial weights depend on them.
        datasets: Data sets that all stages of the run share.
    """

    def __init__(
        self, loaded: LoadedConfig, registry: Registry, seeds: StageSeeds, datasets: Datasets
    ):
        self._loaded = loaded
        self._config = loaded.config
        self._registry = registry
        self._seeds = seeds
        self._datasets = datasets

    @property
    def data(self) -> Dataset:
        """The data set to train and to validate on."""
        return self._datasets.data

    @property
    def test(self) -> Dataset | None:
        """The data set of the key ``test``, or None."""
        return self._datasets.test

    @property
    def patches(self) -> Sequence[Sample]:
        """The training patches of the split ``train``; at least one."""
        return self._datasets.patches

    def prefetch(self, indices: Sequence[int]) -> None:
        """Let other processes make training patches, in the order in which they will be used."""
        self._datasets.patches.prefetch(indices)

    def build_backbone(self) -> Backbone:
        """Build the fusion network with its initial weights."""
        return self._build(self._config.backbone, "backbone")

    def build_sensors(self) -> dict[str, Sensor]:
        """Build the pseudo-sensors with their initial weights, by modality."""
        return {
            modality: self._build(spec, "sensors", modality)
            for modality, spec in self._config.sensors.items()
        }

    def build_teachers(self) -> list[Backbone]:
        """Build the backbones of ``teacher``; an empty list for ``self``."""
        if self._config.teacher == "self":
            return []
        return [self._build(spec, "teacher", k) for k, spec in enumerate(self._config.teacher)]

    def build_transforms(self) -> list[tuple[TransformGroup, int]]:
        """Build the groups, each with the number of elements to draw per step."""
        return [
            (self._build(term.component, "transforms", k), term.count)
            for k, term in enumerate(self._config.transforms)
        ]

    def build_losses(self) -> list[tuple[Loss, float]]:
        """Build the terms of the objective with their weights."""
        return [
            (self._build(term.component, "losses", k), term.weight)
            for k, term in enumerate(self._config.losses)
        ]

    def build_metrics(self, profile: str, names: Sequence[str] | None = None) -> list[Metric]:
        """Build the metrics of a profile: those named, or all of them.

        Raises:
            FusionkitError: for an unknown profile or metric.
        """
        return metrics_of(self._registry, profile, names)

    def build(self, kind: str, name: str, **arguments: Any) -> Any:
        """Build any installed component by kind and name.

        Raises:
            FusionkitError: if no such component is installed, or an argument is wrong.
        """
        spec = make_spec(self._registry, kind, name, arguments)
        return self._registry.build(spec, self._config.modalities)

    def names(self, kind: str) -> list[str]:
        """Return the sorted names of the installed components of a kind."""
        return self._registry.names(kind)

    def _build(self, spec: ComponentSpec, *at: str | int) -> Any:
        return build_located(self._loaded, self._registry, self._seeds, spec, at)
