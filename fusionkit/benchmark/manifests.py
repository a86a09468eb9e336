"""Split manifests: which scenes belong to which split, with the hashes of their files.

If frames of one video are on both sides of a split, a method is scored on what it has memorized.
A manifest keeps groups of similar scenes on one side. It names each file with its SHA-256, so that
readers can tell whether they have the same images.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from fusionkit.benchmark.scene_groups import NEAR, group_scenes
from fusionkit.errors import FusionkitError
from fusionkit.interfaces import Dataset
from fusionkit.io.atomic_write import write_json
from fusionkit.io.hashes import file_hash

__all__ = ["Entry", "Manifest", "make_manifest", "read_manifest"]

FORMAT = "fusionkit-split-1"


@dataclass(frozen=True)
class Entry:
    """One scene of a manifest.

    Attributes:
        id: Id of the scene in its data set.
        group: Name of the group of similar scenes that it belongs to.
        files: Role (a modality, ``mask`` or ``boxes``) -> SHA-256 of the file.
    """

    id: str
    group: str
    files: Mapping[str, str]


@dataclass(frozen=True)
class Manifest:
    """A split of a data set: split name -> scenes."""

    splits: Mapping[str, tuple[Entry, ...]]
    grouping: str

    def write(self, path: Path) -> None:
        """Write the manifest as JSON."""
        splits = {
            name: [{"id": e.id, "group": e.group, "sha256": dict(e.files)} for e in entries]
            for name, entries in self.splits.items()
        }
        write_json(path, {"format": FORMAT, "grouping": self.grouping, "splits": splits})

    def indices(self, dataset: Dataset, path: Path) -> dict[str, list[int]]:
        """Return split -> indices into the data set, after checking the hashes of all files.

        Args:
            dataset: The data set.
            path: Path of the manifest, for error messages.

        Raises:
            FusionkitError: if a scene is missing, a file is another one, or a group is in two
                splits.
        """
        places = {dataset.id(index): index for index in range(len(dataset))}
        split_of_group: dict[str, str] = {}
        result: dict[str, list[int]] = {}
        for split, entries in self.splits.items():
            if missing := [entry.id for entry in entries if entry.id not in places]:
                raise FusionkitError(
                    f"{path}: the data set lacks {len(missing)} of the {len(entries)} scenes of "
                    f"the split {split!r}: {', '.join(missing[:5])}"
                )
            for entry in entries:
                if split_of_group.setdefault(entry.group, split) != split:
                    raise FusionkitError(
                        f"{path}: the group {entry.group!r} is in two splits, "
                        f"{split_of_group[entry.group]} and {split} (scene {entry.id}); keep "
                        f"neighbouring frames in one split"
                    )
                files = dataset.files(places[entry.id])
                for role, expected in entry.files.items():
                    if role not in files:
                        raise FusionkitError(
                            f"{path}: scene {entry.id} has no {role} file in this data set"
                        )
                    found = file_hash(files[role])
                    if found != expected:
                        raise FusionkitError(
                            f"{files[role]} is not the file that {path} names: expected SHA-256 "
                            f"{expected[:12]}..., found {found[:12]}...; get the published data, "
                            f"or make your own manifest with `fusionkit split`"
                        )
            result[split] = [places[entry.id] for entry in entries]
        return result


def read_manifest(path: Path) -> Manifest:
    """Read a manifest.

    Raises:
        FusionkitError: if the file does not exist or is damaged.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["format"] != FORMAT:
            raise ValueError(f"expected the format {FORMAT!r}, found {values['format']!r}")
        splits = {
            name: tuple(Entry(e["id"], e["group"], e["sha256"]) for e in entries)
            for name, entries in values["splits"].items()
        }
        return Manifest(splits, values["grouping"])
    except FileNotFoundError:
        raise FusionkitError(f"the manifest {path} does not exist") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FusionkitError(
            f"{path}: expected a split manifest: {type(error).__name__} {error}"
        ) from None


def make_manifest(
    dataset: Dataset,
    fractions: Mapping[str, float] | None,
    *,
    near: int = NEAR,
    seed: int = 0,
) -> Manifest:
    """Split a data set by groups, or record the splits that it comes with.

    Args:
        dataset: A data set whose scenes come from files.
        fractions: Split name -> fraction of the scenes; the fractions add up to 1. None for the
            data set's own splits.
        near: Largest number of differing bits, of 64, between the perceptual hashes of scenes of
            one group; used if the data set does not know its sequences.
        seed: Random seed for dealing groups to splits.

    Raises:
        FusionkitError: if there are fewer groups than splits, or a group is in two of the data
            set's own splits.
    """
    groups = group_scenes(dataset, near)
    if fractions is None:
        splits = {name: list(indices) for name, indices in dataset.splits().items() if indices}
        _check_groups(dataset, groups, splits)
    else:
        splits = _deal(groups, fractions, seed)
    known = all(dataset.group(index) is not None for index in range(len(dataset)))
    return Manifest(
        {
            name: tuple(
                Entry(
                    dataset.id(index),
                    groups[index],
                    {role: file_hash(file) for role, file in dataset.files(index).items()},
                )
                for index in sorted(indices)
            )
            for name, indices in splits.items()
        },
        "sequences of the data set" if known else f"perceptual hashes, at most {near} of 64 bits",
    )


def _check_groups(
    dataset: Dataset, groups: Sequence[str], splits: Mapping[str, Sequence[int]]
) -> None:
    """Raise FusionkitError if scenes of one group are in two splits."""
    first: dict[str, tuple[str, int]] = {}
    for split, indices in splits.items():
        for index in indices:
            other_split, other = first.setdefault(groups[index], (split, index))
            if other_split != split:
                raise FusionkitError(
                    f"the data set's own splits separate similar scenes: {dataset.id(other)} "
                    f"({other_split}) and {dataset.id(index)} ({split}) belong to one group; "
                    f"lower `near` if they are no neighbouring frames"
                )


def _deal(groups: Sequence[str], fractions: Mapping[str, float], seed: int) -> dict[str, list[int]]:
    if abs(sum(fractions.values()) - 1) > 1e-6 or min(fractions.values()) <= 0:
        raise FusionkitError(
            f"expected positive fractions that add up to 1, found {dict(fractions)}"
        )
    members: dict[str, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    if len(members) < len(fractions):
        raise FusionkitError(
            f"{len(groups)} scenes form {len(members)} groups, too few for "
            f"{len(fractions)} splits; lower `near`"
        )
    generator = torch.Generator().manual_seed(seed)
    order = [list(members)[k] for k in torch.randperm(len(members), generator=generator).tolist()]
    splits: dict[str, list[int]] = {name: [] for name in fractions}
    for group in sorted(order, key=lambda g: -len(members[g])):
        # Large groups go first, each to the split that lacks the most scenes.
        name = max(splits, key=lambda n: fractions[n] - len(splits[n]) / len(groups))
        splits[name] += members[group]
    return splits
