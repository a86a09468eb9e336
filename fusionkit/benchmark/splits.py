"""Splits that can be checked: manifests of names with content hashes, grouped against leaks.

Frames of one video, or the same image under two names, on both sides of a split let a method score
on what it has learned by heart. A manifest puts whole groups on one side, and names every file by
its SHA-256, so that a reader knows to have the same images.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from fusionkit.errors import FusionkitError
from fusionkit.interfaces import Dataset, Sample
from fusionkit.io.atomic_write import write_json
from fusionkit.io.hashes import file_hash

__all__ = [
    "Manifest",
    "check_disjoint",
    "content_of",
    "groups_of",
    "make_manifest",
    "read_manifest",
]

FORMAT = "fusionkit-split-1"
NEAR = 6
"""Images whose 64-bit perceptual hashes differ in at most so many bits, in every modality, are
taken for neighbouring frames."""


@dataclass(frozen=True)
class Entry:
    """One scene of a manifest: its id, its group, and the SHA-256 of its files by role."""

    id: str
    group: str
    files: Mapping[str, str]


@dataclass(frozen=True)
class Manifest:
    """A split of a data set: split name -> scenes."""

    splits: Mapping[str, tuple[Entry, ...]]
    grouping: str

    def write(self, path: Path) -> None:
        """Write it as JSON, one scene after another, sorted by name."""
        splits = {
            name: [{"id": e.id, "group": e.group, "sha256": dict(e.files)} for e in entries]
            for name, entries in self.splits.items()
        }
        write_json(path, {"format": FORMAT, "grouping": self.grouping, "splits": splits})

    def indices(self, dataset: Dataset, path: Path) -> dict[str, list[int]]:
        """Return split -> indices into the data set, after checking every file against its hash.

        Raises:
            FusionkitError: for scenes that are missing, files that differ, or a group on two sides.
        """
        places = {dataset.id(index): index for index in range(len(dataset))}
        sides: dict[str, str] = {}
        result: dict[str, list[int]] = {}
        for split, entries in self.splits.items():
            if missing := [entry.id for entry in entries if entry.id not in places]:
                raise FusionkitError(
                    f"{path}: the data set lacks {len(missing)} of the {len(entries)} scenes of "
                    f"the split {split!r}: {', '.join(missing[:5])}"
                )
            for entry in entries:
                if sides.setdefault(entry.group, split) != split:
                    raise FusionkitError(
                        f"{path}: the group {entry.group!r} is on two sides, {sides[entry.group]} "
                        f"and {split} (scene {entry.id}): neighbouring frames would leak"
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
                            f"or make a manifest of your own with `fusionkit split`"
                        )
            result[split] = [places[entry.id] for entry in entries]
        return result


def read_manifest(path: Path) -> Manifest:
    """Read a manifest.

    Raises:
        FusionkitError: if there is none, or it is damaged.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["format"] != FORMAT:
            raise ValueError(f"its format is {values['format']!r}, expected {FORMAT!r}")
        splits = {
            name: tuple(Entry(e["id"], e["group"], e["sha256"]) for e in entries)
            for name, entries in values["splits"].items()
        }
        return Manifest(splits, values["grouping"])
    except FileNotFoundError:
        raise FusionkitError(f"there is no manifest {path}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FusionkitError(
            f"{path} is no split manifest: {type(error).__name__} {error}"
        ) from None


def make_manifest(
    dataset: Dataset,
    fractions: Mapping[str, float] | None,
    *,
    near: int = NEAR,
    seed: int = 0,
) -> Manifest:
    """Split a data set by groups, or write down the split that it comes with.

    Args:
        dataset: Scenes that come from files.
        fractions: Split name -> part of the scenes, adding up to 1; the data set's own splits if
            None.
        near: See :data:`NEAR`; used where the data set does not know its sequences.
        seed: Of the order in which groups are dealt out.

    Raises:
        FusionkitError: if there are fewer groups than splits, or the data set's own split has a
            group on two sides.
    """
    groups = groups_of(dataset, near)
    if fractions is None:
        splits = {name: list(indices) for name, indices in dataset.splits().items() if indices}
        sides: dict[str, str] = {}
        for split, indices in splits.items():
            for index in indices:
                if sides.setdefault(groups[index], split) != split:
                    first = next(
                        i for i in splits[sides[groups[index]]] if groups[i] == groups[index]
                    )
                    raise FusionkitError(
                        f"the split that the data set comes with leaks: {dataset.id(first)} "
                        f"({sides[groups[index]]}) and {dataset.id(index)} ({split}) belong "
                        f"to one group"
                    )
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


def _deal(groups: Sequence[str], fractions: Mapping[str, float], seed: int) -> dict[str, list[int]]:
    if abs(sum(fractions.values()) - 1) > 1e-6 or min(fractions.values()) <= 0:
        raise FusionkitError(f"expected positive parts that add up to 1, found {dict(fractions)}")
    members: dict[str, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    if len(members) < len(fractions):
        raise FusionkitError(
            f"{len(groups)} scenes form {len(members)} groups, which can't be dealt out to "
            f"{len(fractions)} splits; lower `near`"
        )
    generator = torch.Generator().manual_seed(seed)
    order = [list(members)[k] for k in torch.randperm(len(members), generator=generator).tolist()]
    splits: dict[str, list[int]] = {name: [] for name in fractions}
    for group in sorted(order, key=lambda g: -len(members[g])):
        # The split that lacks most of its part takes the group; large groups go first.
        name = max(splits, key=lambda n: fractions[n] - len(splits[n]) / len(groups))
        splits[name] += members[group]
    return splits


def groups_of(dataset: Dataset, near: int = NEAR) -> list[str]:
    """Return the group of each scene: its sequence, or that of the scenes it looks nearly like."""
    groups = [dataset.group(index) for index in range(len(dataset))]
    unknown = [index for index, group in enumerate(groups) if group is None]
    hashes = np.stack([_perceptual(dataset[index]) for index in unknown]) if unknown else None
    parent = {index: index for index in unknown}

    def root(index: int) -> int:
        while parent[index] != index:
            index = parent[index]
        return index

    if hashes is not None:
        for row, index in enumerate(unknown):
            bits = (hashes[row] != hashes[:row]).sum(axis=2)
            for other in np.flatnonzero((bits <= near).all(axis=1)):
                parent[root(index)] = root(unknown[int(other)])
    return [
        group if group is not None else f"like {dataset.id(root(index))}"
        for index, group in enumerate(groups)
    ]


def _perceptual(sample: Sample) -> np.ndarray:
    """Return (modalities, 64) bits: whether brightness grows from each cell of 8 x 9 to the next.

    The difference hash of N. Krawetz (2013), which brightness and contrast do not change.
    """
    bits = []
    for image in sample.images.values():
        grey = Image.fromarray((image[0].numpy() * 255).round().astype(np.uint8))
        small = np.asarray(grey.resize((9, 8), Image.Resampling.BOX), np.int16)
        bits.append((small[:, 1:] > small[:, :-1]).ravel())
    return np.stack(bits)


def check_disjoint(dataset: Dataset, one: Sequence[int], other: Sequence[int]) -> None:
    """Refuse a scene, or an image under another name, on both sides of a split.

    Raises:
        FusionkitError: names both.
    """
    seen: dict[str, int] = {}
    for index in one:
        for name, digest in _images_of(dataset[index]).items():
            seen.setdefault(f"{name} {digest}", index)
    for index in other:
        for name, digest in _images_of(dataset[index]).items():
            if (first := seen.get(f"{name} {digest}")) is not None:
                raise FusionkitError(
                    f"the {name} image of {_where(dataset, index, name)} is also in the training "
                    f"set, as {_where(dataset, first, name)}; a score on it would mean nothing"
                )


def content_of(sample: Sample) -> str:
    """Return a hash of all that a task sees of a scene: images, chroma and labels."""
    digest = hashlib.sha256(sample.id.encode())
    for name, value in (
        *sorted(sample.images.items()),
        ("chroma", sample.chroma),
        ("mask", sample.mask),
        ("boxes", sample.boxes),
    ):
        digest.update(name.encode())
        if value is not None:
            digest.update(str(tuple(value.shape)).encode())
            digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _images_of(sample: Sample) -> dict[str, str]:
    """Return a hash of each image that shows something: black frames are all alike."""
    return {
        name: hashlib.sha256(image.contiguous().numpy().tobytes()).hexdigest()
        for name, image in sample.images.items()
        if image.min() < image.max()
    }


def _where(dataset: Dataset, index: int, name: str) -> Any:
    return dataset.files(index).get(name, dataset.id(index))
