"""Fuses folders of files, paired by name: what is done to sources is said, and none is replaced."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from fusionkit.errors import FusionkitError
from fusionkit.functional.colour import split_chroma
from fusionkit.functional.stretching import Stretch
from fusionkit.inference.fusion import check_stretch, fuse_prepared
from fusionkit.inference.preprocessing import SMALLEST, Prepared, check_colour, prepare
from fusionkit.interfaces import Backbone, Sample
from fusionkit.io.atomic_write import make_folder
from fusionkit.io.images import SUFFIXES, read_image, to_float, write_image
from fusionkit.io.metadata import Metadata, read_metadata
from fusionkit.io.pairs import Pair, find_pairs
from fusionkit.io.windows import find_windows

__all__ = ["fuse_files", "read_samples"]


def fuse_files(
    model: Backbone,
    sources: Mapping[str, Path],
    out: Path,
    *,
    colour: str | None = None,
    stretch: Stretch = "none",
    windows: Mapping[str, str | tuple[float, float]] | None = None,
    resample: bool = False,
    align: bool = False,
    suffix: str | None = None,
    progress: Callable[[int, int, Path], None] = lambda done, total, path: None,
    say: Callable[[str], None] = lambda line: None,
) -> list[Path]:
    """Fuse files or folders; all pairs and the output are checked before the first is fused.

    What the camera wrote about the colour source, else about the first, is kept: EXIF with time,
    place and camera, and the colour profile.

    Args:
        model: A backbone.
        sources: Modality name -> file, or folder of files paired by stem.
        out: For files: a file if it ends like an image, else a folder. For folders: a folder.
        colour: See ``fusionkit.fuse``.
        stretch: See ``fusionkit.fuse``.
        windows: Modality -> (low, high), or ``LOW:HIGH``, ``LOW%:HIGH%`` (percentiles of all images
            of the modality together) or ``full`` (the range of the type). By default grey images
            that use a narrow part of 16 bits, or floats outside [0, 1], get ``0.5%:99.5%``.
        resample: See ``fusionkit.fuse``.
        align: See ``fusionkit.fuse``.
        suffix: Format of the results in a folder, as ``.png``; by default that of the source whose
            colour or depth they have, but PNG for JPEG, so as not to compress twice.
        progress: Called with how many are done, how many there are, and the file written.
        say: Called with a line for each thing done to sources that was not asked for in so many
            words: windows before the first is fused, sizes and shifts after the last.

    Returns:
        The files written, each whole or not at all.

    Raises:
        FusionkitError: for pairs that don't fit, or an output that can't be written, can't hold
            the pixels, or would replace a source.
    """
    check_stretch(stretch)
    check_colour(sources, colour)
    if suffix is not None and suffix.lower() not in SUFFIXES:
        raise FusionkitError(f"suffix: expected one of {', '.join(SUFFIXES)}, found {suffix!r}")
    pairs = find_pairs(sources, resample=resample)
    for pair in pairs:
        for modality, size in pair.sizes.items():
            if min(size) < SMALLEST:
                raise FusionkitError(
                    f"{pair.paths[modality]} has {size[0]}x{size[1]} pixels; "
                    f"at least {SMALLEST}x{SMALLEST} are needed"
                )
    single = all(path.is_file() for path in sources.values())
    to_file = single and out.suffix.lower() in SUFFIXES
    _check_apart(pairs, out, to_file)
    if to_file and out.is_dir():
        raise FusionkitError(f"expected a file to write, found the folder {out}")
    files = {modality: [pair.paths[modality] for pair in pairs] for modality in sources}
    used, lines = find_windows(files, windows or {})
    make_folder(out.parent if to_file else out)
    for line in lines:
        say(line)
    written: list[Path] = []
    changes = _Changes()
    for index, pair in enumerate(pairs, start=1):
        images = {modality: read_image(path) for modality, path in pair.paths.items()}
        try:
            prepared = prepare(images, colour=colour, windows=used, resampled=resample, align=align)
            fused = fuse_prepared(model, prepared, images[prepared.kept].dtype, stretch, pair.id)
        except FusionkitError as error:
            raise FusionkitError(f"{pair.id}: {error}") from None
        source = pair.paths[prepared.kept]
        target = out if to_file else out / (pair.id + (suffix or _suffix(source)))
        write_image(target, fused, _metadata(source, rgb=fused.ndim == 3))
        written.append(target)
        changes.count(pair, prepared)
        progress(index, len(pairs), target)
    for line in changes.lines():
        say(line)
    return written


class _Changes:
    """Counts what was done to sources so that they fit."""

    def __init__(self) -> None:
        self._resampled: Counter[tuple[str, tuple[int, int], tuple[int, int]]] = Counter()
        self._pairs: Counter[str] = Counter()
        self._unsure: Counter[str] = Counter()
        self._moved: dict[str, list[float]] = {}

    def count(self, pair: Pair, prepared: Prepared) -> None:
        height, width = next(iter(prepared.luma.values())).shape[-2:]
        for modality, size in pair.sizes.items():
            if size != (height, width):
                self._resampled[modality, size, (height, width)] += 1
        for modality, shift in prepared.shifts.items():
            self._pairs[modality] += 1
            self._unsure[modality] += shift is None
            self._moved.setdefault(modality, [])
        for modality, length in prepared.moved.items():
            self._moved[modality].append(length)

    def lines(self) -> Iterator[str]:
        for (modality, old, new), count in self._resampled.items():
            yield (
                f"{modality}: {_images(count)} of {old[0]}x{old[1]} resampled to {new[0]}x{new[1]}"
            )
        for modality, lengths in self._moved.items():
            by = f", by {median(lengths):.1f} pixels in the median" if lengths else ""
            unsure = self._unsure[modality]
            yield (
                f"{modality}: {len(lengths)} of {_images(self._pairs[modality])} moved{by}"
                + (f"; {unsure} left, as no shift was to be trusted" if unsure else "")
            )


def _images(count: int) -> str:
    return f"{count} image{'s' if count > 1 else ''}"


def read_samples(pairs: Iterable[Pair]) -> Iterator[Sample]:
    """Yield pairs of files as samples: the luminance of each source, and no colour."""
    for pair in pairs:
        luma: dict[str, Tensor] = {}
        for modality, path in pair.paths.items():
            values = torch.from_numpy(to_float(read_image(path)))
            luma[modality] = (
                values[None]
                if values.ndim == 2
                else split_chroma(values.movedim(-1, 0).contiguous())[0]
            )
        yield Sample(pair.id, luma)


def _suffix(source: Path) -> str:
    """Keep the format of the source that gave colour and depth, but never lose by it.

    Compressing a second time would cost quality and change every score, so that JPEG becomes PNG.
    """
    return ".png" if source.suffix.lower() in (".jpg", ".jpeg") else source.suffix


def _metadata(source: Path, *, rgb: bool) -> Metadata:
    """Return what the camera wrote; the profile only where its colours are those of the result."""
    found = read_metadata(source)
    if rgb and found.profile is not None and found.profile[16:20] == b"RGB ":
        return found
    return replace(found, profile=None)


def _check_apart(pairs: Sequence[Pair], out: Path, to_file: bool) -> None:
    """Refuse to write over a source, or beside it under its stem, where pairing would stumble."""
    for pair in pairs:
        for path in pair.paths.values():
            if to_file and out.resolve() == path.resolve():
                raise FusionkitError(f"the output {out} is one of the sources; name another file")
            if not to_file and (out.resolve(), pair.id) == (path.parent.resolve(), path.stem):
                raise FusionkitError(
                    f"the output folder {out} holds the source {path.name}; name another folder"
                )
