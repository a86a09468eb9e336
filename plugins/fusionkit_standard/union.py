"""Data set ``union``: the concatenation of several data sets."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from fusionkit.errors import FusionkitError
from fusionkit.interfaces import Dataset, Patches, Sample


class Union(Dataset):
    """Concatenation of several data sets; each keeps its own splits and patches.

    Scene ``07`` of the part ``roadscene`` is named ``roadscene-07``, so that parts may use the same
    names. A split of the union contains that split of each part. Masks and boxes are kept if all
    parts have the same classes.

    Args:
        parts: Name -> data set. Their training patches must have the same size.

    Raises:
        FusionkitError: if there are no parts, or, when patches are drawn, if these differ in size.

    Example:
        >>> import fusionkit as fk
        >>> scenes = {"name": "scenes", "size": 32, "train": 2, "val": 1}
        >>> parts = {"a": scenes, "b": {**scenes, "seed": 1}}
        >>> data = fk.build("dataset", name="union", parts=parts)
        >>> len(data), data.splits()
        (6, {'train': [0, 1, 3, 4], 'val': [2, 5]})
    """

    name = "union"
    example: ClassVar[Mapping[str, object]] = {
        "parts": {
            "day": {"name": "scenes", "size": 32, "train": 2, "val": 1},
            "more": {"name": "scenes", "size": 32, "train": 2, "val": 1, "seed": 1},
        }
    }

    def __init__(self, parts: dict[str, Dataset]):
        if not parts:
            raise FusionkitError("parts: expected one data set or more, found none")
        self.parts = parts
        self._names = list(parts)
        self._ends = list(itertools.accumulate(len(part) for part in parts.values()))
        self.mask_classes = _common([part.mask_classes for part in parts.values()])
        self.box_classes = _common([part.box_classes for part in parts.values()])

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Sample:
        """Return scene ``index``, named after its part; IndexError past the end."""
        name, part, within = self._place(range(len(self))[index])
        return self._named(name, part[within])

    def id(self, index: int) -> str:
        """Return the name ``PART-SCENE`` of scene ``index``."""
        name, part, within = self._place(index)
        return f"{name}-{part.id(within)}"

    def files(self, index: int) -> Mapping[str, Path]:
        """Return the files of scene ``index`` by modality; empty if it has none."""
        _, part, within = self._place(index)
        return part.files(within)

    def group(self, index: int) -> str | None:
        """Return the sequence of scene ``index``, named after its part; None if unknown."""
        name, part, within = self._place(index)
        group = part.group(within)
        return None if group is None else f"{name}-{group}"

    def splits(self) -> Mapping[str, Sequence[int]]:
        """Return each split that any part has, in the order of the parts."""
        found: dict[str, list[int]] = {"train": [], "val": []}
        for first, part in zip(self._starts(), self.parts.values(), strict=True):
            for split, indices in part.splits().items():
                found.setdefault(split, []).extend(first + index for index in indices)
        return found

    def patches(self, indices: Sequence[int]) -> Sequence[Sample]:
        """Return the patches that the parts draw from their own scenes.

        Raises:
            FusionkitError: if parts draw patches of different sizes.
        """
        chosen: dict[str, list[int]] = {name: [] for name in self._names}
        for index in indices:
            name, _, within = self._place(index)
            chosen[name].append(within)
        drawn = [
            _Renamed(self, name, self.parts[name].patches(wanted))
            for name, wanted in chosen.items()
            if wanted
        ]
        sizes = {part.name: _size(part[0]) for part in drawn if len(part)}
        if len(set(sizes.values())) > 1:
            described = ", ".join(f"{name} {h}x{w}" for name, (h, w) in sizes.items())
            raise FusionkitError(
                f"parts: expected training patches of one size, found {described}; "
                f"set the same `patch` or `size` for all parts"
            )
        return _Chained(drawn)

    def _starts(self) -> list[int]:
        return [0, *self._ends[:-1]]

    def _place(self, index: int) -> tuple[str, Dataset, int]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        number = bisect_right(self._ends, index)
        name = self._names[number]
        return name, self.parts[name], index - self._starts()[number]

    def _named(self, name: str, sample: Sample) -> Sample:
        return replace(
            sample,
            id=f"{name}-{sample.id}",
            mask=sample.mask if self.mask_classes else None,
            boxes=sample.boxes if self.box_classes else None,
        )


class _Renamed(Patches):
    """Patches of one part, renamed on access."""

    def __init__(self, union: Union, name: str, patches: Sequence[Sample]):
        self._union, self.name, self._patches = union, name, patches

    def __len__(self) -> int:
        return len(self._patches)

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        return self._union._named(self.name, self._patches[index])

    def together(self, index: int) -> Sequence[int]:
        return self._patches.together(index) if isinstance(self._patches, Patches) else (index,)


class _Chained(Patches):
    """Patches of all parts, concatenated."""

    def __init__(self, parts: Sequence[Patches]):
        self._parts = parts
        self._ends = list(itertools.accumulate(len(part) for part in parts))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        index = range(len(self))[index]
        part, first = self._part(index)
        return part[index - first]

    def together(self, index: int) -> Sequence[int]:
        part, first = self._part(index)
        return [first + number for number in part.together(index - first)]

    def _part(self, index: int) -> tuple[Patches, int]:
        """Return the part of a patch, and the number of its first one."""
        number = bisect_right(self._ends, index)
        return self._parts[number], self._ends[number - 1] if number else 0


def _size(sample: Sample) -> tuple[int, int]:
    height, width = next(iter(sample.images.values())).shape[-2:]
    return height, width


def _common(classes: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    return classes[0] if len(set(classes)) == 1 else ()
