"""Data sets: scenes by index, and how they are split."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from fusionkit.interfaces.component import Component
from fusionkit.interfaces.sample import Sample

__all__ = ["Dataset"]


class Dataset(Component, ABC):
    """Scenes by index, each whole; and how they are split and cut for training."""

    kind = "dataset"
    mask_classes: tuple[str, ...] = ()
    """Names of the classes in ``Sample.mask`` by index; none if the scenes have no masks. Pixels
    of :data:`IGNORED` belong to no class."""
    box_classes: tuple[str, ...] = ()
    """Names of the classes in ``Sample.boxes`` by index; none if the scenes have no boxes."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of scenes, of all splits together."""

    @abstractmethod
    def __getitem__(self, index: int) -> Sample:
        """Return scene ``index``, whole; IndexError past the end."""

    @abstractmethod
    def splits(self) -> Mapping[str, Sequence[int]]:
        """Return the indices of ``train`` and ``val``, disjoint; other splits by their names."""

    def id(self, index: int) -> str:
        """Return the name of scene ``index``; override it where that needs no reading."""
        return self[index].id

    def files(self, index: int) -> Mapping[str, Path]:
        """Return the files of scene ``index`` by modality, and ``mask`` or ``boxes`` for labels.

        None for scenes that come from no file. Whoever checks a split hashes them.
        """
        return {}

    def group(self, index: int) -> str | None:
        """Return the sequence that scene ``index`` was taken from, None if that is not known."""
        return None

    def patches(self, indices: Sequence[int]) -> Sequence[Sample]:
        """Return what training draws from these scenes, all of one size; the scenes by default."""
        return [self[index] for index in indices]
