"""Finds which images of several folders belong together: those of one stem."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fusionkit.errors import FusionkitError
from fusionkit.functional.resampling import same_field
from fusionkit.io.images import image_size, list_images

__all__ = ["Pair", "find_pairs"]

_SAME_PIXELS = "the images of a pair must be registered pixel by pixel"
_SAME_FIELD = (
    "only images of one aspect ratio are resampled; those of a pair must show the same field of "
    "view, so crop them alike"
)


@dataclass(frozen=True)
class Pair:
    """The images of one scene.

    Attributes:
        id: Their common stem; of a pair of files the stem of the first.
        paths: Modality name -> file.
        size: (h, w) of the first image, and of all unless ``sizes`` differ.
        sizes: Modality name -> (h, w) in pixels.
    """

    id: str
    paths: Mapping[str, Path]
    size: tuple[int, int]
    sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)


def find_pairs(sources: Mapping[str, Path], *, resample: bool = False) -> list[Pair]:
    """Pair the images of two or more folders by stem, or take one file per modality as one pair.

    Args:
        sources: Modality name -> file or folder.
        resample: Let sizes differ if their aspect ratios don't (see ``same_field``).

    Raises:
        FusionkitError: for a missing or empty folder, images without a partner, or a pair whose
            images differ in size; lists all of them.
    """
    if len(sources) < 2:
        raise FusionkitError(f"expected two or more sources, found {', '.join(sources) or 'none'}")
    files = [name for name, path in sources.items() if path.is_file()]
    if files and len(files) < len(sources):
        other = next(name for name in sources if name not in files)
        if not sources[other].exists():
            raise FusionkitError(f"there is no file or folder {sources[other]} ({other})")
        raise FusionkitError(
            f"expected files for all sources or folders for all, found the file "
            f"{sources[files[0]]} ({files[0]}) and the folder {sources[other]} ({other})"
        )
    if files:
        first = next(iter(sources.values()))
        return _sized([(first.stem, dict(sources))], resample)
    folders = {name: list_images(path) for name, path in sources.items()}
    stems = list(dict.fromkeys(stem for images in folders.values() for stem in images))
    lonely = [
        f"{stem} (no {', '.join(name for name in folders if stem not in folders[name])})"
        for stem in sorted(stems)
        if any(stem not in images for images in folders.values())
    ]
    if lonely:
        where = ", ".join(f"{name}: {path}" for name, path in sources.items())
        raise FusionkitError(
            f"{len(lonely)} image{'s have' if len(lonely) > 1 else ' has'} no partner of the same "
            f"name: {_some(lonely)}; folders: {where}"
        )
    groups = [(s, {name: folders[name][s] for name in folders}) for s in sorted(stems)]
    return _sized(groups, resample)


def _sized(groups: list[tuple[str, dict[str, Path]]], resample: bool) -> list[Pair]:
    pairs, unequal = [], []
    for stem, paths in groups:
        sizes = {name: image_size(path) for name, path in paths.items()}
        first = next(iter(sizes.values()))
        fits = same_field if resample else tuple.__eq__
        if not all(fits(first, size) for size in sizes.values()):
            described = ", ".join(f"{name} {h}x{w}" for name, (h, w) in sizes.items())
            unequal.append(f"{stem} ({described})")
        pairs.append(Pair(stem, paths, first, sizes))
    if unequal:
        raise FusionkitError(
            f"{len(unequal)} pair{'s' if len(unequal) > 1 else ''} of unequal size (height x "
            f"width): {_some(unequal)}; {_SAME_FIELD if resample else _SAME_PIXELS}"
        )
    return pairs


def _some(items: list[str]) -> str:
    more = f" and {len(items) - 10} more" if len(items) > 10 else ""
    return ", ".join(items[:10]) + more
