"""Folders of images and numbered images as sources of frames."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from fusionkit.errors import FusionkitError
from fusionkit.io.frames import Frame, FrameSource, Pixels
from fusionkit.io.images import SUFFIXES, list_folder, read_image

__all__ = ["DEFAULT_RATE", "ImageSequence", "is_pattern", "is_sequence", "list_frames"]

logger = logging.getLogger("fusionkit")

DEFAULT_RATE = Fraction(25)
"""Frames per second of an image sequence, as FFmpeg assumes them."""

_NUMBER = re.compile(r"%(0?)(\d*)d")


class ImageSequence(FrameSource):
    """Images that are the frames of a video.

    Args:
        name: Name for messages.
        files: The images in order; all have the number of channels of the first, which must be
            readable.
        rate: Frames per second.
    """

    def __init__(self, name: str, files: Sequence[Path], rate: Fraction):
        super().__init__(name, rate, 1 / rate)
        self.paths = tuple(files)
        self.total = len(files)
        self._has_colour: bool | None = None
        self._has_colour = self.sample(1)[0].ndim == 3

    @property
    def has_colour(self) -> bool:
        """Whether frames are (h, w, 3)."""
        return bool(self._has_colour)

    def sample(self, count: int) -> list[Pixels]:
        """Return the pixels of images spread evenly over the sequence.

        Raises:
            FusionkitError: if none of them can be read.
        """
        places = np.linspace(0, len(self.paths) - 1, min(count, len(self.paths))).round()
        pixels, error = [], FusionkitError("")
        for place in places:
            try:
                pixels.append(self._read(self.paths[int(place)]))
            except FusionkitError as found:
                error = found
        if not pixels:
            raise error
        return pixels

    def frames(self) -> Iterator[Frame]:
        """Yield the images; one that can't be read is left out, and is in ``problems``."""
        for index, path in enumerate(self.paths):
            try:
                pixels = self._read(path)
            except FusionkitError as error:
                self.problems.append(str(error))
                continue
            yield Frame(pixels, index, 1, index / self.rate, (index + 1) / self.rate)

    def _read(self, path: Path) -> Pixels:
        pixels = read_image(path)
        if self._has_colour is not None and (pixels.ndim == 3) != self._has_colour:
            raise FusionkitError(
                f"{path}: expected {'colour' if self._has_colour else 'grey'} as in {self.paths[0]}"
                f", found {'grey' if self._has_colour else 'colour'}; convert it"
            )
        return pixels


def is_sequence(source: str) -> bool:
    """Return whether a source is a folder of images or a pattern of numbered images.

    Args:
        source: What a user calls the source.

    Example:
        >>> is_sequence("frames/%06d.png"), is_sequence("a.mp4")
        (True, False)
    """
    path = Path(source)
    return path.is_dir() or (is_pattern(source) and not path.exists())


def is_pattern(source: str) -> bool:
    """Return whether a source is a pattern of numbered images.

    Args:
        source: What a user calls the source.

    Example:
        >>> is_pattern("frames/%06d.png"), is_pattern("frames")
        (True, False)
    """
    path = Path(source)
    return _NUMBER.search(path.name) is not None and path.suffix.lower() in SUFFIXES


def list_frames(source: Path) -> list[Path]:
    """Return the images of a folder or of a pattern in the order of their numbers.

    Args:
        source: A folder, whose images are ordered by name, with numbers in them compared as
            numbers; or a pattern such as ``frames/%06d.png``.

    Raises:
        FusionkitError: if there are no images.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for number in (10, 9):
        ...         Path(folder, f"{number}.png").touch()
        ...     [path.name for path in list_frames(Path(folder))]
        ['9.png', '10.png']
    """
    return _sort_by_number(source) if source.is_dir() else _match_pattern(source)


def _match_pattern(pattern: Path) -> list[Path]:
    """Return the files that match a pattern of FFmpeg, in the order of their numbers."""
    found = _NUMBER.search(pattern.name)
    assert found is not None
    zeros, width = found.groups()
    before, after = pattern.name[: found.start()], pattern.name[found.end() :]
    digits = rf"\d{{{width},}}" if zeros and width else r"\d+"
    regex = re.compile(f"{re.escape(before)}({digits}){re.escape(after)}")
    if not pattern.parent.is_dir():
        raise FusionkitError(f"the folder {pattern.parent} does not exist; check the path")
    numbered = {
        int(match[1]): path
        for path in pattern.parent.iterdir()
        if (match := regex.fullmatch(path.name)) is not None
    }
    if not numbered:
        raise FusionkitError(f"expected images that match {pattern}, found none; check the pattern")
    missing = max(numbered) - min(numbered) + 1 - len(numbered)
    if missing:
        logger.warning(f"{pattern}: {missing} of the numbers are missing; the others follow on")
    return [numbered[number] for number in sorted(numbered)]


def _sort_by_number(folder: Path) -> list[Path]:
    paths = [
        path
        for path in list_folder(folder)
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    ]
    if not paths:
        raise FusionkitError(
            f"expected images ({', '.join(SUFFIXES)}) in the folder {folder}, found none"
        )

    def key(path: Path) -> list[tuple[int, str]]:
        parts = re.split(r"(\d+)", path.name)
        return [(int(part), "") if part.isdigit() else (0, part) for part in parts]

    return sorted(paths, key=key)
