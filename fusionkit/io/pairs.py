"""Pairs: the images of one scene, one per modality. Files of several folders are paired by stem."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from fusionkit.errors import FusionkitError
from fusionkit.functional.resampling import same_field
from fusionkit.io.decoding import Header
from fusionkit.io.images import (
    ImageLike,
    OpenedImage,
    open_image,
    opened_file,
    read_file_header,
)
from fusionkit.io.listing import PairFiles, check_count, list_pairs, some

__all__ = ["Pair", "find_pairs", "open_pair", "pair_images"]

Headers = list[Header]
MapPairs = Callable[[Callable[[PairFiles], Headers], Sequence[PairFiles]], Iterable[Headers]]
"""Calls a function on each of many pairs of files, as the builtin ``map`` does."""

_SAME_PIXELS = "register the images of a pair pixel by pixel first"
_SAME_FIELD = (
    "only images with one aspect ratio are resampled, because those of a pair must show the same "
    "field of view; crop them alike"
)


@dataclass(frozen=True)
class Pair:
    """The images of one scene, whose sizes were checked by ``find_pairs`` or ``pair_images``.

    Attributes:
        id: Name of the scene: the common stem of its files, or the stem of the first file.
        images: Modality name -> image.

    Example:
        >>> import numpy as np
        >>> pair = Pair("street", {"visible": open_image(np.zeros((20, 30, 3), np.uint8))})
        >>> pair.size, pair.paths
        ((20, 30), {})
    """

    id: str
    images: Mapping[str, OpenedImage]

    @property
    def paths(self) -> dict[str, Path]:
        """Modality name -> file, for the images that are files."""
        return {name: i.path for name, i in self.images.items() if i.path is not None}

    @property
    def sizes(self) -> dict[str, tuple[int, int]]:
        """Modality name -> (h, w) in pixels."""
        return {name: image.size for name, image in self.images.items()}

    @property
    def size(self) -> tuple[int, int]:
        """(h, w) of the first image, and of all images unless resampling was allowed."""
        return next(iter(self.images.values())).size


def pair_images(
    images: Mapping[str, ImageLike], *, name: str = "image", resample: bool = False
) -> Pair:
    """Open the images of one scene.

    Args:
        images: Modality name -> file, Pillow image or array.
        name: Name of the scene.
        resample: Allow images of different sizes if their aspect ratios are equal.

    Raises:
        FusionkitError: for fewer than two images, one that can't be opened, or unequal sizes.

    Example:
        >>> import numpy as np
        >>> pair_images({"infrared": np.zeros((20, 30)), "visible": np.zeros((20, 30, 3))}).size
        (20, 30)
    """
    check_count(images)
    pair = Pair(name, {modality: open_image(image, modality) for modality, image in images.items()})
    advice = f"{_SAME_PIXELS}, or pass resample=True if they show the same field of view"
    _check_sizes([pair], resample, advice)
    return pair


def find_pairs(
    sources: Mapping[str, Path], *, resample: bool = False, each: MapPairs = map
) -> list[Pair]:
    """Pair the images of two or more folders by stem, or take one file per modality as one pair.

    Args:
        sources: Modality name -> file or folder.
        resample: Allow images of different sizes if their aspect ratios are equal (see
            ``same_field``).
        each: How the headers of many pairs are read: one after the other, or by other processes.

    Returns:
        The pairs, sorted by stem.

    Raises:
        FusionkitError: for a missing or empty folder, images without a partner, or pairs whose
            images differ in size; the message lists all of them.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from fusionkit.io.images import write_image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     sources = {name: Path(folder) / name for name in ("infrared", "visible")}
        ...     for path in sources.values():
        ...         path.mkdir()
        ...         write_image(path / "street.png", np.zeros((20, 30), np.uint8))
        ...     [pair.id for pair in find_pairs(sources)]
        ['street']
    """
    listing = list_pairs(sources)
    if listing.lonely:
        where = ", ".join(f"{name}: {path}" for name, path in sources.items())
        count = len(listing.lonely)
        raise FusionkitError(
            f"{count} image{'s have' if count > 1 else ' has'} no partner of the same name: "
            f"{some(listing.lonely)}; rename or remove files in the folders {where}"
        )
    headers = each(_read_headers, listing.pairs)
    pairs = [_pair(*each) for each in zip(listing.pairs, headers, strict=True)]
    _check_sizes(pairs, resample, _SAME_PIXELS)
    return pairs


def open_pair(files: PairFiles, *, resample: bool = False) -> Pair:
    """Open the files of one scene; their headers are read.

    Args:
        files: What ``list_pairs`` found.
        resample: Allow images of different sizes if their aspect ratios are equal.

    Raises:
        FusionkitError: for a file that can't be read, or unequal sizes.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from fusionkit.io.images import write_image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     paths = {name: Path(folder, f"{name}.png") for name in ("mri", "pet")}
        ...     for path in paths.values():
        ...         write_image(path, np.zeros((20, 30), np.uint8))
        ...     open_pair(PairFiles("brain", paths)).size
        (20, 30)
    """
    pair = _open(files)
    _check_sizes([pair], resample, _SAME_PIXELS)
    return pair


def _open(files: PairFiles) -> Pair:
    return _pair(files, _read_headers(files))


def _read_headers(files: PairFiles) -> Headers:
    return [read_file_header(path) for path in files.paths.values()]


def _pair(files: PairFiles, headers: Headers) -> Pair:
    paths = zip(files.paths.items(), headers, strict=True)
    return Pair(files.id, {name: opened_file(path, header) for (name, path), header in paths})


def _check_sizes(pairs: Sequence[Pair], resample: bool, advice: str) -> None:
    fits = same_field if resample else tuple.__eq__
    unequal = [
        f"{pair.id} ({', '.join(f'{name} {h}x{w}' for name, (h, w) in pair.sizes.items())})"
        for pair in pairs
        if not all(fits(first, second) for first, second in combinations(pair.sizes.values(), 2))
    ]
    if unequal:
        raise FusionkitError(
            f"{len(unequal)} pair{'s' if len(unequal) > 1 else ''} of unequal "
            f"{'aspect ratio' if resample else 'size'} (height x width): {some(unequal)}; "
            f"{_SAME_FIELD if resample else advice}"
        )
