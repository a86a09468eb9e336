"""Data set ``paired-folders``: one folder of images per modality, paired by file name."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from fusionkit.errors import FusionkitError
from fusionkit.functional.colour import channels_first, luminance
from fusionkit.inference.preprocessing import to_sample
from fusionkit.interfaces import Dataset, Modalities, Sample
from fusionkit.io.images import read_image, to_float
from fusionkit.io.pairs import Pair, find_pairs

FOLDER_NAMES: Mapping[str, tuple[str, ...]] = {
    "infrared": ("infrared", "ir", "thermal", "lwir", "inf"),
    "visible": ("visible", "vi", "vis", "rgb"),
}
"""What folders of a modality are usually called, apart from the modality's own name."""

Arrays = Mapping[str, NDArray[np.generic]]
_STREAMED = 8
"""How many decoded pairs ``store="stream"`` keeps."""


class PairedFolders(Dataset):
    """Registered images of several modalities, a folder each, paired by stem.

    PNG, JPEG, TIFF and BMP, 8 and 16 bit, grey and colour; of a colour image the luminance is
    fused. Everything is read once when the data set is built, so that missing partners, unequal
    sizes and damaged files show before anything else starts.

    Args:
        modalities: Names of the sources.
        root: Folder that has a folder for each modality, called by its name or as is usual
            (``ir``, ``vi``, ...).
        folders: Instead of ``root``: the folder of each modality.
        val: Part of the pairs held out for validation: the last ones by name, in one block, as
            neighbouring names are often neighbouring frames.
        fold: Which block of that size is held out: 0 the last, 1 the one before it, and so on, for
            cross-validation.
        patch: Side of the training patches in pixels.
        stride: Pixels from one patch to the next, from the top left corner on.
        min_contrast: Patches where (p90 - p10) / p90 of any source is less are left out. Unlike
            in EMMA's official code, this takes a patch that is black (p90 = 0) for one without
            contrast; there the NaN of 0 / 0 kept it.
        store: ``memory`` keeps the decoded images, as integers where the files hold integers;
            ``stream`` reads them again when needed.

    Raises:
        FusionkitError: for folders that can't be found, images without partner, pairs of unequal
            size, or a file that can't be read.
    """

    name = "paired-folders"
    refuses: ClassVar = {"build": "it reads the folders of its user"}

    def __init__(
        self,
        modalities: Modalities,
        root: Path | None = None,
        folders: dict[str, Path] | None = None,
        val: Annotated[float, Field(ge=0, lt=1)] = 0.1,
        fold: Annotated[int, Field(ge=0)] = 0,
        patch: Annotated[int, Field(ge=16)] = 128,
        stride: Annotated[int, Field(ge=1)] = 200,
        min_contrast: Annotated[float, Field(ge=0, lt=1)] = 0.1,
        store: Literal["memory", "stream"] = "memory",
    ):
        self.pairs = find_pairs(_folders(modalities, root, folders))
        self.patch, self.stride, self.min_contrast = patch, stride, min_contrast
        self.val, self.fold = val, fold
        held_out = self._held_out
        if fold and not held_out:
            raise FusionkitError("fold: nothing is held out (val: 0), so there are no folds")
        if fold and (fold + 1) * held_out > len(self.pairs):
            raise FusionkitError(
                f"fold: {held_out} of {len(self.pairs)} pairs are held out at a time, so the "
                f"folds are 0 to {len(self.pairs) // held_out - 1}, found {fold}"
            )
        self._kept: OrderedDict[int, Arrays] = OrderedDict()
        self._limit = len(self.pairs) if store == "memory" else _STREAMED
        # Reading everything finds damaged files now rather than hours into the training.
        for index in range(len(self.pairs)):
            self._arrays(index)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample:
        """Return a pair, whole, with the chroma of its colour source; IndexError past the end."""
        arrays = self._arrays(range(len(self.pairs))[index])
        return replace(to_sample(self.pairs[index].id, arrays), bits=_bits(arrays))

    def id(self, index: int) -> str:
        """Return the stem of pair ``index``."""
        return self.pairs[index].id

    def files(self, index: int) -> Mapping[str, Path]:
        """Return the images of pair ``index`` by modality."""
        return self.pairs[index].paths

    def cut(self, index: int, top: int, left: int) -> Sample:
        """Return the patch of pair ``index`` whose first pixel is at ``top``, ``left``."""
        rows, columns = slice(top, top + self.patch), slice(left, left + self.patch)
        arrays = {name: array[rows, columns] for name, array in self._arrays(index).items()}
        return Sample(
            self.pairs[index].id, _luminances(arrays), crop=(top, left), bits=_bits(arrays)
        )

    def _arrays(self, index: int) -> Arrays:
        if index not in self._kept:
            self._kept[index] = _read(self.pairs[index])
            if len(self._kept) > self._limit:
                self._kept.popitem(last=False)
        self._kept.move_to_end(index)
        return self._kept[index]

    def splits(self) -> Mapping[str, Sequence[int]]:
        """Return ``train`` and ``val``.

        At least one pair is for validation unless ``val`` is 0, and one at least for training.
        """
        count = len(self.pairs)
        stop = count - self.fold * self._held_out
        start = stop - self._held_out
        train = range(start) if stop == count else [*range(start), *range(stop, count)]
        return {"train": train, "val": range(start, stop)}

    @property
    def _held_out(self) -> int:
        count = len(self.pairs)
        return min(max(1, round(self.val * count)), count - 1) if self.val else 0

    def patches(self, indices: Sequence[int]) -> Sequence[Sample]:
        """Return the patches of these pairs that have contrast, cut out when asked for.

        Raises:
            FusionkitError: if an image is smaller than a patch, or no patch has contrast.
        """
        places: list[tuple[int, int, int]] = []
        side = self.patch
        for index in indices:
            self._check_patch(self.pairs[index])
            height, width = self.pairs[index].size
            images = torch.cat(list(_luminances(self._arrays(index)).values()))
            for top in range(0, height - side + 1, self.stride):
                for left in range(0, width - side + 1, self.stride):
                    if self._has_contrast(images[:, top : top + side, left : left + side]):
                        places.append((index, top, left))
        if not places and indices:
            raise FusionkitError(
                f"no patch of the {len(indices)} pairs has the contrast "
                f"min_contrast={self.min_contrast} in all modalities; lower it"
            )
        return _Patches(self, places)

    def _check_patch(self, pair: Pair) -> None:
        height, width = pair.size
        if min(height, width) >= self.patch:
            return
        fitting = min(height, width) // 16 * 16
        raise FusionkitError(
            f"{next(iter(pair.paths.values()))} has {height}x{width} pixels, less than a patch of "
            f"{self.patch}x{self.patch}; "
            + (f"set patch to {fitting} or less" if fitting else "leave that pair out")
        )

    def _has_contrast(self, patch: Tensor) -> bool:
        levels = torch.quantile(patch.flatten(1), torch.tensor([0.1, 0.9]), dim=1)
        low, high = levels[0], levels[1]
        return bool(((high > 0) & (high - low >= self.min_contrast * high)).all())


class _Patches(Sequence[Sample]):
    """Patches by place, cut out of their images one by one."""

    def __init__(self, dataset: PairedFolders, places: Sequence[tuple[int, int, int]]):
        self._dataset = dataset
        self._places = places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        return self._dataset.cut(*self._places[index])


def _luminances(arrays: Arrays) -> dict[str, Tensor]:
    return {m: luminance(channels_first(to_float(array))) for m, array in arrays.items()}


def _bits(arrays: Arrays) -> int:
    return 8 if all(array.dtype == np.uint8 for array in arrays.values()) else 16


def _read(pair: Pair) -> Arrays:
    images = {modality: read_image(path) for modality, path in pair.paths.items()}
    for modality, image in images.items():
        try:
            to_float(image if image.dtype.kind == "f" else image[:1, :1])
        except FusionkitError as error:
            raise FusionkitError(f"{pair.paths[modality]}: {error}") from None
    return images


def _folders(
    modalities: Sequence[str], root: Path | None, folders: Mapping[str, Path] | None
) -> dict[str, Path]:
    if (root is None) == (folders is None):
        raise FusionkitError(
            "give either root: a folder that has a folder per modality, or "
            "folders: {" + ", ".join(f"{m}: PATH" for m in modalities) + "}"
        )
    if folders is not None:
        if set(folders) != set(modalities):
            raise FusionkitError(
                f"folders: expected one for each of {', '.join(modalities)}, "
                f"found {', '.join(folders) or 'none'}"
            )
        return {modality: folders[modality] for modality in modalities}
    assert root is not None
    if not root.is_dir():
        raise FusionkitError(f"there is no folder {root}")
    there = {path.name.casefold(): path for path in sorted(root.iterdir()) if path.is_dir()}
    found: dict[str, Path] = {}
    for modality in modalities:
        names = [modality.casefold(), *FOLDER_NAMES.get(modality, ())]
        match = next((there[name] for name in names if name in there), None)
        if match is None:
            raise FusionkitError(
                f"{root} has no folder for {modality} (looked for {', '.join(dict.fromkeys(names))}"
                f"; it has: {', '.join(p.name for p in there.values()) or 'no folders'}); "
                f"name them with folders: {{{modality}: PATH, ...}}"
            )
        found[modality] = match
    return found
