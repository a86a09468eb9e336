"""The base class of labelled data sets: pairs of images with a label file each, in splits."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from fusionkit.errors import FusionkitError
from fusionkit.inference.preprocessing import read_samples
from fusionkit.interfaces import Dataset, Sample
from fusionkit.io.pairs import Pair, find_pairs

Limit = Annotated[int, Field(ge=1)]
"""Annotation of the argument ``limit``."""


@dataclass(frozen=True)
class LabelledPair:
    """A pair of images with labels.

    Attributes:
        pair: The images.
        label: Path of the label file.
        split: Name of the split that the pair belongs to.
    """

    pair: Pair
    label: Path
    split: str


class LabelledFolders(Dataset):
    """LabelledPair pairs; images are read on access, labels are checked when this is built.

    Args:
        scenes: The pairs in order.
        limit: Largest number of scenes of each split, evenly spread over the names.

    Raises:
        FusionkitError: if a label file is missing or wrong.
    """

    refuses: ClassVar = {"build": "it reads a data set that its user has downloaded"}

    role: str
    """Kind of the label: ``mask`` or ``boxes``."""

    def __init__(self, scenes: Sequence[LabelledPair], limit: int | None):
        self._scenes = _limited(scenes, limit)
        if missing := [str(s.label) for s in self._scenes if not s.label.is_file()]:
            raise FusionkitError(
                f"{len(missing)} label files are missing: {', '.join(missing[:5])}"
                f"{' and more' if len(missing) > 5 else ''}; the label file of an image "
                f"without objects must exist and be empty"
            )
        for scene in self._scenes:
            self.check(scene)

    @abstractmethod
    def check(self, scene: LabelledPair) -> None:
        """Raise FusionkitError if the label of a scene is wrong."""

    @abstractmethod
    def labels(self, scene: LabelledPair) -> tuple[Tensor | None, Tensor | None]:
        """Return the mask and the boxes of a scene; one of them is None."""

    def __len__(self) -> int:
        return len(self._scenes)

    def __getitem__(self, index: int) -> Sample:
        """Return a whole scene with its labels.

        Raises:
            IndexError: past the last scene.
        """
        scene = self._scenes[range(len(self))[index]]
        (sample,) = read_samples([scene.pair])
        mask, boxes = self.labels(scene)
        return replace(sample, mask=mask, boxes=boxes)

    def id(self, index: int) -> str:
        """Return the file stem of a scene."""
        return self._scenes[index].pair.id

    def splits(self) -> Mapping[str, Sequence[int]]:
        """Return the scenes by split; ``train`` and ``val`` always exist."""
        found: dict[str, list[int]] = {}
        for index, scene in enumerate(self._scenes):
            found.setdefault(scene.split, []).append(index)
        return {"train": found.pop("train", []), "val": found.pop("val", []), **found}

    def files(self, index: int) -> Mapping[str, Path]:
        """Return the image files by modality, and the label file by its role."""
        scene = self._scenes[index]
        return {**scene.pair.paths, self.role: scene.label}


def labelled_pairs(
    folders: Mapping[str, Path], labels: Path, suffix: str, split: str
) -> list[LabelledPair]:
    """Pair images and label files by their file stems.

    Args:
        folders: Modality name -> folder of the images.
        labels: Folder of the label files.
        suffix: Suffix of the label files, such as ``.txt``.
        split: Name of the split that the pairs belong to.

    Raises:
        FusionkitError: if a folder is missing, or an image has no partner.
    """
    for folder in (*folders.values(), labels):
        if not folder.is_dir():
            raise FusionkitError(
                f"the folder {folder} is missing; docs/datasets.md shows the expected layout"
            )
    return [LabelledPair(p, labels / f"{p.id}{suffix}", split) for p in find_pairs(folders)]


def _limited(scenes: Sequence[LabelledPair], limit: int | None) -> list[LabelledPair]:
    if limit is None:
        return list(scenes)
    chosen: list[LabelledPair] = []
    for split in dict.fromkeys(scene.split for scene in scenes):
        members = [scene for scene in scenes if scene.split == split]
        count = min(limit, len(members))
        chosen += [members[k * len(members) // count] for k in range(count)]
    return chosen
