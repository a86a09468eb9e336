"""Fuses files, or folders of files paired by name."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from statistics import median

from fusionkit.errors import FusionkitError
from fusionkit.inference.fusion import fuse_preprocessed
from fusionkit.inference.output import OutputFiles
from fusionkit.inference.preprocessing import PreprocessedPair, preprocess
from fusionkit.inference.sources import FusionOptions, OpenedSources
from fusionkit.interfaces import Backbone
from fusionkit.io.pairs import Pair, find_pairs
from fusionkit.progress import Progress, SilentProgress

__all__ = ["fuse_files"]

logger = logging.getLogger("fusionkit")


def fuse_files(
    model: Backbone,
    sources: Mapping[str, Path],
    out: Path,
    options: FusionOptions | None = None,
    *,
    suffix: str | None = None,
    progress: Progress | None = None,
) -> list[Path]:
    """Fuse files or folders; all pairs and the output are checked before the first is fused.

    Changes to the sources that nobody asked for in so many words are logged: windows before the
    first pair is fused, new sizes and shifts after the last. The metadata of the colour source, or
    of the first source if none has colour, is kept: EXIF with time, place and camera, and the
    colour profile.

    Args:
        model: A backbone, on any device.
        sources: Modality name -> file, or folder of files that are paired by stem.
        out: For files: a file if it ends like an image, else a folder. For folders: a folder.
        options: How to fuse them.
        suffix: Format of the results in a folder, such as ``.png``; see ``OutputFiles``.
        progress: Receives the number of pairs, and a step for each file written.

    Returns:
        The files written, in the order of the pairs.

    Raises:
        FusionkitError: for sources that make no pairs, options that don't fit them, or an output
            that can't be written, can't hold the pixels, or would replace a source.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> import fusionkit as fk
        >>> from fusionkit.io.images import write_image
        >>> average = fk.build("backbone", name="average")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     sources = {name: Path(folder, f"{name}.png") for name in ("infrared", "visible")}
        ...     for path in sources.values():
        ...         write_image(path, np.zeros((20, 30), np.uint8))
        ...     [path.name for path in fuse_files(average, sources, Path(folder, "fused.png"))]
        ['fused.png']
    """
    options = options or FusionOptions()
    pairs = find_pairs(sources, resample=options.resample)
    as_file = all(path.is_file() for path in sources.values())
    output = OutputFiles(out, pairs, suffix=suffix, as_file=as_file)
    opened = OpenedSources(pairs, options)
    output.make_folder()
    written: list[Path] = []
    changes = _Changes()
    progress = progress or SilentProgress()
    progress.expect(len(pairs))
    for pair in opened.pairs:
        scene = preprocess(pair, opened)
        try:
            fused = fuse_preprocessed(model, scene, options.stretch)
        except FusionkitError as error:
            raise FusionkitError(f"{pair.id}: {error}") from None
        written.append(output.write(pair, scene.reference_modality, fused))
        changes.count(pair, scene)
        progress.step()
    changes.log()
    return written


class _Changes:
    """Counts what was done to the sources to make them fit."""

    def __init__(self) -> None:
        self._resampled: Counter[tuple[str, tuple[int, int], tuple[int, int]]] = Counter()
        self._pairs: Counter[str] = Counter()
        self._unsure: Counter[str] = Counter()
        self._moved: dict[str, list[float]] = {}

    def count(self, pair: Pair, scene: PreprocessedPair) -> None:
        height, width = next(iter(scene.sample.images.values())).shape[-2:]
        for modality, size in pair.sizes.items():
            if size != (height, width):
                self._resampled[modality, size, (height, width)] += 1
        for modality, shift in scene.shifts.items():
            self._pairs[modality] += 1
            self._unsure[modality] += shift is None
            self._moved.setdefault(modality, [])
        for modality, length in scene.moved.items():
            self._moved[modality].append(length)

    def log(self) -> None:
        for (modality, old, new), count in self._resampled.items():
            logger.info(
                f"{modality}: {_images(count)} of {old[0]}x{old[1]} resampled to {new[0]}x{new[1]}"
            )
        for modality, lengths in self._moved.items():
            by = f", by {median(lengths):.1f} pixels in the median" if lengths else ""
            unsure = self._unsure[modality]
            logger.info(
                f"{modality}: {len(lengths)} of {_images(self._pairs[modality])} moved{by}"
                + (f"; {unsure} left, because no reliable shift was found" if unsure else "")
            )


def _images(count: int) -> str:
    return f"{count} image{'s' if count > 1 else ''}"
