"""What the labelled data sets share: pairs of files, a label file each, splits by folder."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from fusionkit.errors import FusionkitError
from fusionkit.inference.preprocessing import read_samples
from fusionkit.interfaces import Dataset, Sample
from fusionkit.io.pairs import Pair, find_pairs


@dataclass(frozen=True)
class Labelled:
    """A pair of images, its label file, and the split that it belongs to."""

    pair: Pair
    label: Path
    split: str


class LabelledFolders(Dataset):
    """Pairs with labels; images are read when asked for, labels are checked at once.

    Args:
        scenes: All of them, in order.
        limit: At most that many of each split, evenly spread over the names.
    """

    role: str
    """``mask`` or ``boxes``."""

    def __init__(self, scenes: Sequence[Labelled], limit: int | None):
        self._scenes = _limited(scenes, limit)
        if missing := [str(s.label) for s in self._scenes if not s.label.is_file()]:
            raise FusionkitError(
                f"{len(missing)} label files are missing: {', '.join(missing[:5])}"
                f"{' and more' if len(missing) > 5 else ''}; an image without objects has an "
                f"empty label file"
            )
        for scene in self._scenes:
            self.check(scene)

    @abstractmethod
    def check(self, scene: Labelled) -> None:
        """Raise FusionkitError for a label that can't be right."""

    @abstractmethod
    def labels(self, scene: Labelled) -> tuple[Tensor | None, Tensor | None]:
        """Return mask and boxes, one of them None."""

    def __len__(self) -> int:
        return len(self._scenes)

    def __getitem__(self, index: int) -> Sample:
        """Return a scene, whole, with its labels; IndexError past the end."""
        scene = self._scenes[range(len(self))[index]]
        (sample,) = read_samples([scene.pair])
        mask, boxes = self.labels(scene)
        return replace(sample, mask=mask, boxes=boxes)

    def id(self, index: int) -> str:
        """Return the stem of scene ``index``."""
        return self._scenes[index].pair.id

    def splits(self) -> Mapping[str, Sequence[int]]:
        """Return the splits of the layout; those it lacks are not there."""
        found: dict[str, list[int]] = {}
        for index, scene in enumerate(self._scenes):
            found.setdefault(scene.split, []).append(index)
        return {"train": found.pop("train", []), "val": found.pop("val", []), **found}

    def files(self, index: int) -> Mapping[str, Path]:
        """Return images by modality, and the label file."""
        scene = self._scenes[index]
        return {**scene.pair.paths, self.role: scene.label}


def labelled_pairs(
    folders: Mapping[str, Path], labels: Path, suffix: str, split: str
) -> list[Labelled]:
    """Pair images by stem and give each the label file of its stem.

    Args:
        folders: Modality name -> folder.
        labels: Folder of the label files.
        suffix: Of the label files.
        split: What the scenes belong to.

    Raises:
        FusionkitError: for a folder that is missing, or images that make no pairs.
    """
    for folder in (*folders.values(), labels):
        if not folder.is_dir():
            raise FusionkitError(
                f"the folder {folder} is missing; docs/datasets.md shows the expected layout"
            )
    return [Labelled(p, labels / f"{p.id}{suffix}", split) for p in find_pairs(folders)]


def _limited(scenes: Sequence[Labelled], limit: int | None) -> list[Labelled]:
    if limit is None:
        return list(scenes)
    kept: list[Labelled] = []
    for split in dict.fromkeys(scene.split for scene in scenes):
        members = [scene for scene in scenes if scene.split == split]
        count = min(limit, len(members))
        kept += [members[k * len(members) // count] for k in range(count)]
    return kept
