"""Fuses one pair from its files to its result, and counts what was done to the sources."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from fusionkit.inference.fusion import fuse_preprocessed
from fusionkit.inference.output import OutputFiles
from fusionkit.inference.preprocessing import preprocess
from fusionkit.inference.runner import NetworkRunner
from fusionkit.inference.sources import FusionOptions, OpenedSources
from fusionkit.inference.tiles import choose_tile, fuse_in_tiles
from fusionkit.io.listing import PairFiles, many
from fusionkit.io.pairs import open_pair

__all__ = ["Changes", "FusedPair", "PairFuser"]

logger = logging.getLogger("fusionkit")


@dataclass(frozen=True)
class FusedPair:
    """A pair that was fused.

    Attributes:
        path: The result.
        size: (h, w) of the result in pixels.
        sizes: Modality -> (h, w) of its source.
        shifts: Modality -> shift that was found; see ``PreprocessedPair``.
        moved: Modality -> length in pixels of the shift that was applied.
        radiometric: Modalities whose file gave the counts of a thermal sensor, not its preview.
    """

    path: Path
    size: tuple[int, int]
    sizes: Mapping[str, tuple[int, int]]
    shifts: Mapping[str, tuple[float, float] | None]
    moved: Mapping[str, float]
    radiometric: tuple[str, ...] = ()


class PairFuser:
    """Fuses pairs, each from its files to its result; many threads may call it at once.

    Args:
        runner: The network.
        options: How to fuse.
        windows: Modality -> window, the same for all pairs.
        output: Where the results go.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> import fusionkit as fk
        >>> from fusionkit.io.images import write_image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     files = PairFiles("a", {name: Path(folder, name + ".png") for name in ("ir", "vi")})
        ...     for path in files.paths.values():
        ...         write_image(path, np.zeros((20, 30), np.uint8))
        ...     runner = NetworkRunner(fk.build("backbone", name="average"))
        ...     output = OutputFiles(Path(folder, "fused.png"), [files], as_file=True)
        ...     PairFuser(runner, FusionOptions(), {}, output)(files).size
        (20, 30)
    """

    def __init__(
        self,
        runner: NetworkRunner,
        options: FusionOptions,
        windows: Mapping[str, tuple[float, float]],
        output: OutputFiles,
    ):
        self._runner, self._options, self._windows, self._output = runner, options, windows, output

    def __call__(self, files: PairFiles) -> FusedPair:
        """Read, fuse and write one pair.

        Raises:
            FusionkitError: for a file that can't be read, sources that don't fit, or a result that
                can't be written.
        """
        pair = open_pair(files, resample=self._options.resample)
        sources = OpenedSources([pair], self._options, self._windows)
        radiometric = tuple(m for m, image in pair.images.items() if image.radiometric)
        tile = choose_tile(self._runner.network, pair, self._options)
        if tile is not None:
            tiled = fuse_in_tiles(self._runner, pair, sources, tile)
            path = self._output.write_bands(files, tiled)
            return FusedPair(path, pair.size, pair.sizes, {}, {}, radiometric)
        scene = preprocess(pair, sources)
        fused = fuse_preprocessed(self._runner, scene, self._options)
        path = self._output.write(files, scene.reference_modality, fused)
        size = (fused.shape[0], fused.shape[1])
        return FusedPair(path, size, pair.sizes, scene.shifts, scene.moved, radiometric)


class Changes:
    """Counts what was done to the sources to make them fit.

    Example:
        >>> changes = Changes()
        >>> changes.count(FusedPair(Path("a.png"), (64, 64), {"ir": (32, 32)}, {}, {}))
        >>> changes.log()  # logs "ir: 1 image of 32x32 resampled to 64x64"
    """

    def __init__(self) -> None:
        self._resampled: Counter[tuple[str, tuple[int, int], tuple[int, int]]] = Counter()
        self._radiometric: Counter[str] = Counter()
        self._pairs: Counter[str] = Counter()
        self._unsure: Counter[str] = Counter()
        self._moved: dict[str, list[float]] = {}

    def count(self, fused: FusedPair) -> None:
        """Count what was done to the sources of one pair."""
        for modality, size in fused.sizes.items():
            if size != fused.size:
                self._resampled[modality, size, fused.size] += 1
        self._radiometric.update(fused.radiometric)
        for modality, shift in fused.shifts.items():
            self._pairs[modality] += 1
            self._unsure[modality] += shift is None
            self._moved.setdefault(modality, [])
        for modality, length in fused.moved.items():
            self._moved[modality].append(length)

    def log(self) -> None:
        """Log a line for each change, with the number of images."""
        for modality, count in self._radiometric.items():
            logger.info(
                f"{modality}: {many(count, 'radiometric image')}: fused were the counts of the "
                f"sensor, not the preview"
            )
        for (modality, old, new), count in self._resampled.items():
            logger.info(
                f"{modality}: {many(count, 'image')} of {old[0]}x{old[1]} resampled to "
                f"{new[0]}x{new[1]}"
            )
        for modality, lengths in self._moved.items():
            by = f", by {median(lengths):.1f} pixels in the median" if lengths else ""
            unsure = self._unsure[modality]
            logger.info(
                f"{modality}: {len(lengths)} of {many(self._pairs[modality], 'image')} moved{by}"
                + (f"; {unsure} left, because no reliable shift was found" if unsure else "")
            )
