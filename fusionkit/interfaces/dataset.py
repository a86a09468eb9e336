"""Data sets: scenes by index, and how they are split."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from fusionkit.interfaces.component import Component
from fusionkit.interfaces.sample import Sample

__all__ = ["Dataset", "Patches"]


class Dataset(Component, ABC):
    """Scenes by index, their splits, and the patches that training draws from them.

    One thread at a time reads it, but not always the same thread. On a cluster, ``fusionkit bench``
    sends it to other processes, so it must be picklable there, best without decoded images.
    """

    kind = "dataset"
    mask_classes: tuple[str, ...] = ()
    """Class names of ``Sample.mask`` by index; empty if the scenes have no masks. Pixels of the
    value :data:`IGNORED` have no class."""
    box_classes: tuple[str, ...] = ()
    """Class names of ``Sample.boxes`` by index; empty if the scenes have no boxes."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of scenes in all splits together."""

    @abstractmethod
    def __getitem__(self, index: int) -> Sample:
        """Return the whole scene ``index``; raise IndexError past the end."""

    @abstractmethod
    def splits(self) -> Mapping[str, Sequence[int]]:
        """Return split name -> indices; ``train`` and ``val`` must exist, and none may overlap."""

    def id(self, index: int) -> str:
        """Return the name of scene ``index``; override it if it is known without reading."""
        return self[index].id

    def files(self, index: int) -> Mapping[str, Path]:
        """Return the files of scene ``index``, empty if it comes from no file.

        Keys are the modalities, and ``mask`` or ``boxes`` for labels. Split manifests hold their
        hashes.
        """
        return {}

    def group(self, index: int) -> str | None:
        """Return the sequence that scene ``index`` was taken from, None if unknown."""
        return None

    def patches(self, indices: Sequence[int]) -> Sequence[Sample]:
        """Return the training patches of these scenes, all of one size; by default the scenes.

        A patch is read when it is asked for, so that a training on many scenes starts at once, and
        maybe in another process. Return :class:`Patches` if several come from one scene.
        """
        return _Scenes(self, indices)


class Patches(Sequence[Sample], ABC):
    """Training patches that are read on access, several of them from one scene."""

    @abstractmethod
    def together(self, index: int) -> Sequence[int]:
        """Return the numbers of all patches of one scene, ``index`` among them.

        They are read one after the other in one process, so that a file need be opened once only.
        """


class _Scenes(Sequence[Sample]):
    """Whole scenes, read on access."""

    def __init__(self, dataset: Dataset, indices: Sequence[int]):
        self._dataset, self._indices = dataset, indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        return self._dataset[self._indices[index]]
