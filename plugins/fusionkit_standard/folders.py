"""Data set ``paired-folders``: one folder of images per modality, paired by file name."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from fusionkit.errors import FusionkitError
from fusionkit.functional.colour import channels_first, luminance
from fusionkit.inference.parallel import cores, in_order, in_processes
from fusionkit.inference.preprocessing import to_sample
from fusionkit.interfaces import Dataset, Modalities, Patches, Sample
from fusionkit.io.images import list_folder, read_image, to_float
from fusionkit.io.pairs import Pair, find_pairs

FOLDER_NAMES: Mapping[str, tuple[str, ...]] = {
    "infrared": ("infrared", "ir", "thermal", "lwir", "inf"),
    "visible": ("visible", "vi", "vis", "rgb"),
}
"""Usual names of the folder of a modality, besides the name of the modality."""

Arrays = Mapping[str, NDArray[np.generic]]
_STREAMED = 8
"""Number of decoded pairs in memory with ``store="stream"``."""
_MANY = 4096
"""Pairs whose headers are worth starting processes for."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class PairedFolders(Dataset):
    """Registered images in one folder per modality, paired by the stems of their file names.

    Reads PNG, JPEG, TIFF, BMP and WebP images, grey or colour, 8 or 16 bit. Fusion uses the
    luminance of colour images. Missing partners and different sizes are found when the data set is
    built. By default all images are read then as well, so that damaged files are found before
    training starts.

    Args:
        modalities: Names of the sources; filled in by the run.
        root: Folder with one folder per modality, named after the modality or by a usual short name
            (``ir``, ``vi``, ...).
        folders: Folder of each modality; give either ``root`` or ``folders``.
        val: Fraction of the pairs to hold out for validation: the last ones by name, in one block,
            because neighbouring names are often neighbouring frames of a video.
        fold: Which block of that size to hold out, for cross-validation: 0 for the last one, 1 for
            the one before it, and so on.
        patch: Side of the training patches in pixels.
        stride: Distance between the corners of neighbouring patches in pixels.
        min_contrast: Skip patches if (p90 - p10) / p90 of any source is smaller, where p10 and p90
            are percentiles. Skips black patches (p90 = 0), which the official code of EMMA keeps.
            With ``store="stream"``, the next patch of the same pair that has the contrast takes the
            place of one that lacks it; a pair without any keeps its patches.
        store: ``memory`` reads all images at once and keeps them. ``stream`` reads them when they
            are needed, so that training on many of them starts early.

    Raises:
        FusionkitError: if a folder is missing, an image has no partner, the images of a pair differ
            in size, or a file cannot be read.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from PIL import Image
        >>> import fusionkit as fk
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for folder in ("ir", "vi"):
        ...         (Path(root) / folder).mkdir()
        ...         Image.fromarray(np.eye(40, dtype=np.uint8)).save(f"{root}/{folder}/00017.png")
        ...     names = ("infrared", "visible")
        ...     data = fk.build("dataset", name="paired-folders", modalities=names, root=root)
        >>> sample = data[0]
        >>> sample.id, tuple(sample.images["infrared"].shape)
        ('00017', (1, 40, 40))
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
        self.pairs = find_pairs(_folders(modalities, root, folders), each=_in_processes)
        self.patch, self.stride, self.min_contrast = patch, stride, min_contrast
        self.val, self.fold = val, fold
        held_out = self._held_out
        if fold and not held_out:
            raise FusionkitError(
                f"fold: expected 0, because val is 0 and nothing is held out, found {fold}"
            )
        if fold and (fold + 1) * held_out > len(self.pairs):
            raise FusionkitError(
                f"fold: expected 0 to {len(self.pairs) // held_out - 1}, because each fold holds "
                f"out {held_out} of {len(self.pairs)} pairs, found {fold}"
            )
        self._cache: OrderedDict[int, Arrays] = OrderedDict()
        self.store = store
        if store == "memory":
            # Threads, because decoders leave Python's lock, and arrays need not be sent.
            self._cache.update(enumerate(in_order(_read, self.pairs, cores())))

    def __getstate__(self) -> dict[str, Any]:
        # Other processes see the files too.
        return {**self.__dict__, "_cache": OrderedDict()}

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample:
        """Return a whole pair with the chroma of its colour source; IndexError past the end."""
        arrays = self._arrays(range(len(self.pairs))[index])
        return replace(to_sample(self.pairs[index].id, arrays), bits=_bits(arrays))

    def id(self, index: int) -> str:
        """Return the stem of pair ``index``."""
        return self.pairs[index].id

    def files(self, index: int) -> Mapping[str, Path]:
        """Return the images of pair ``index`` by modality."""
        return self.pairs[index].paths

    def cut(self, index: int, top: int, left: int) -> Sample:
        """Return the patch of pair ``index`` whose upper left pixel is (``top``, ``left``)."""
        rows, columns = slice(top, top + self.patch), slice(left, left + self.patch)
        arrays = {name: array[rows, columns] for name, array in self._arrays(index).items()}
        return Sample(
            self.pairs[index].id, _luminances(arrays), crop=(top, left), bits=_bits(arrays)
        )

    def _arrays(self, index: int) -> Arrays:
        if index not in self._cache:
            self._cache[index] = _read(self.pairs[index])
            if self.store == "stream" and len(self._cache) > _STREAMED:
                self._cache.popitem(last=False)
        self._cache.move_to_end(index)
        return self._cache[index]

    def splits(self) -> Mapping[str, Sequence[int]]:
        """Return the indices of ``train`` and ``val``.

        Both have at least one pair, unless ``val`` is 0.
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
        """Return the patches of these pairs that have enough contrast; they are cut out lazily.

        Raises:
            FusionkitError: if an image is smaller than a patch, or no patch has enough contrast.
        """
        places: list[tuple[int, int, int]] = []
        side = self.patch
        for index in indices:
            self._check_patch(self.pairs[index])
            found = self._places(index)
            if self.store == "memory":
                images = torch.cat(list(_luminances(self._arrays(index)).values()))
                found = [
                    (top, left)
                    for top, left in found
                    if self._has_contrast(images[:, top : top + side, left : left + side])
                ]
            places += ((index, *place) for place in found)
        if not places and indices:
            raise FusionkitError(
                f"no patch of the {len(indices)} pairs has a contrast of min_contrast="
                f"{self.min_contrast} in all modalities; set min_contrast lower"
            )
        return _Patches(self, places)

    def _check_patch(self, pair: Pair) -> None:
        height, width = pair.size
        if min(height, width) >= self.patch:
            return
        fitting = min(height, width) // 16 * 16
        raise FusionkitError(
            f"{next(iter(pair.paths.values()))}: expected at least {self.patch}x{self.patch} "
            f"pixels, the size of a patch, found {height}x{width}; "
            + (f"set patch to {fitting} or less" if fitting else "remove the pair")
        )

    def _places(self, index: int) -> list[tuple[int, int]]:
        """Return the upper left pixels of all patches of a pair."""
        height, width = self.pairs[index].size
        tops = range(0, height - self.patch + 1, self.stride)
        lefts = range(0, width - self.patch + 1, self.stride)
        return [(top, left) for top in tops for left in lefts]

    def _cut_with_contrast(self, index: int, place: tuple[int, int]) -> Sample:
        """Return the patch at a place, or the next one in turn that has more contrast."""
        places = self._places(index)
        first = places.index(place)
        for other in (*places[first:], *places[:first]):
            patch = self.cut(index, *other)
            if self._has_contrast(torch.cat(list(patch.images.values()))):
                return patch
        return self.cut(index, *place)

    def _has_contrast(self, patch: Tensor) -> bool:
        levels = torch.quantile(patch.flatten(1), torch.tensor([0.1, 0.9]), dim=1)
        low, high = levels[0], levels[1]
        return bool(((high > 0) & (high - low >= self.min_contrast * high)).all())


class _Patches(Patches):
    """Patches that are cut out of their images on access."""

    def __init__(self, dataset: PairedFolders, places: Sequence[tuple[int, int, int]]):
        self._dataset = dataset
        self._places = places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        pair, top, left = self._places[index]
        if self._dataset.store == "stream":  # nobody has looked at it yet
            return self._dataset._cut_with_contrast(pair, (top, left))
        return self._dataset.cut(pair, top, left)

    def together(self, index: int) -> Sequence[int]:
        """Return the numbers of the patches of one pair, which follow each other."""
        pair, first, last = self._places[index][0], index, index + 1
        while first > 0 and self._places[first - 1][0] == pair:
            first -= 1
        while last < len(self) and self._places[last][0] == pair:
            last += 1
        return range(first, last)


def _in_processes(work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    workers = cores() if len(items) > _MANY else 0
    return in_processes(work, items, workers, at_once=256)


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
            "expected either root: a folder with one folder per modality, or folders: {"
            + ", ".join(f"{m}: PATH" for m in modalities)
            + "}; found "
            + ("neither" if root is None else "both")
        )
    if folders is not None:
        if set(folders) != set(modalities):
            raise FusionkitError(
                f"folders: expected a folder for each of {', '.join(modalities)}, "
                f"found {', '.join(folders) or 'none'}"
            )
        return {modality: folders[modality] for modality in modalities}
    assert root is not None
    present = {path.name.casefold(): path for path in list_folder(root) if path.is_dir()}
    found: dict[str, Path] = {}
    for modality in modalities:
        names = [modality.casefold(), *FOLDER_NAMES.get(modality, ())]
        match = next((present[name] for name in names if name in present), None)
        if match is None:
            raise FusionkitError(
                f"{root}: expected a folder for {modality} named "
                f"{' or '.join(dict.fromkeys(names))}, found "
                f"{', '.join(p.name for p in present.values()) or 'no folders'}; "
                f"give the folders by folders: {{{modality}: PATH, ...}}"
            )
        found[modality] = match
    return found
