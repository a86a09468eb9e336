"""The scenes of a data set that a suite uses, and the same scenes with fused images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from fusionkit.benchmark.content import content_hash
from fusionkit.benchmark.manifests import read_manifest
from fusionkit.benchmark.suite import DataTerm, LoadedSuite
from fusionkit.errors import FusionkitError
from fusionkit.interfaces import Dataset, Sample
from fusionkit.io.images import read_image, to_float
from fusionkit.registry.components import Registry

__all__ = ["FusedScenes", "Scenes", "build_scenes"]


@dataclass(frozen=True)
class Scenes:
    """A data set of a suite, and which of its scenes are for what.

    Attributes:
        name: Name of the data set in the suite.
        dataset: The data set.
        train: Indices of the scenes that tasks train on.
        test: Indices of the scenes that are scored.
    """

    name: str
    dataset: Dataset
    train: tuple[int, ...]
    test: tuple[int, ...]
    _hashes: dict[int, str] = field(default_factory=dict, init=False, repr=False, compare=False)

    def content_hash(self, index: int) -> str:
        """Return the hash of images and labels of a scene, which is read once for it."""
        if index not in self._hashes:
            self._hashes[index] = content_hash(self.dataset[index])
        return self._hashes[index]

    def content_hashes(self) -> dict[str, str]:
        """Return scene id -> hash of images and labels, for the scored scenes."""
        return {self.dataset.id(index): self.content_hash(index)[:16] for index in self.test}


def build_scenes(name: str, term: DataTerm, suite: LoadedSuite, registry: Registry) -> Scenes:
    """Build a data set and its split; check every hash of its manifest.

    Args:
        name: Name of the data set in the suite.
        term: Its configuration.
        suite: The suite, for places in error messages and the folder of the manifest.
        registry: The installed components.

    Raises:
        FusionkitError: with file and line, if the data set can't be opened, a file is not the one
            that the manifest names, there is nothing to score, or two scenes have the same id.
    """
    try:
        dataset: Dataset = registry.build(term.component, suite.config.modalities)
        splits = {split: list(indices) for split, indices in dataset.splits().items()}
        if term.manifest is not None:
            path = suite.folder / term.manifest
            splits = read_manifest(path).indices(dataset, path)
        score_on = term.score_on or ("test" if splits.get("test") else "val")
        if score_on != "all" and not splits.get(score_on):
            raise FusionkitError(
                f"there is no split {score_on!r} to score (there are: "
                f"{', '.join(k for k, v in splits.items() if v)}, all)"
            )
        ids = [dataset.id(index) for index in range(len(dataset))]
        if repeated := sorted({i for i in ids if ids.count(i) > 1}):
            raise FusionkitError(f"two scenes have the same id {repeated[0]!r}")
    except FusionkitError as error:
        raise suite.error(("data", name), error) from None
    test = list(range(len(dataset))) if score_on == "all" else splits[score_on]
    return Scenes(name, dataset, tuple(splits.get(term.fit_on, ())), tuple(test))


class FusedScenes(Sequence[Sample]):
    """Scenes as a task sees them: the sources, the fused image as saved, and colour.

    Args:
        dataset: The data set.
        indices: Indices of the scenes.
        paths: Scene id -> path of the fused image.
        has_colour: Whether the scenes keep their chroma.
    """

    def __init__(
        self,
        dataset: Dataset,
        indices: Sequence[int],
        paths: Mapping[str, Path],
        has_colour: bool,
    ):
        self._dataset = dataset
        self._indices = indices
        self._paths = paths
        self._has_colour = has_colour

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        sample = self._dataset[self._indices[index]]
        fused = torch.from_numpy(to_float(read_image(self._paths[sample.id])))
        return replace(
            sample,
            images={**sample.images, "fused": fused[None]},
            chroma=sample.chroma if self._has_colour else None,
        )
