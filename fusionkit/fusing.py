"""Fuses numpy images and folders of files: any size, colour and bit depth kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from numpy.typing import DTypeLike, NDArray
from torch import Tensor

from fusionkit.errors import FusionkitError
from fusionkit.files import make_folder
from fusionkit.functional.colour import join_chroma, split_chroma
from fusionkit.functional.stretching import Stretch, stretched
from fusionkit.images import SUFFIXES, from_float, read_image, to_float, write_image
from fusionkit.interfaces import Backbone, Sample
from fusionkit.metadata import Metadata, read_metadata
from fusionkit.pairs import Pair, find_pairs
from fusionkit.preparing import SMALLEST, Prepared, check_colour, colour_of, prepare
from fusionkit.windows import find_windows

__all__ = ["SMALLEST", "colour_of", "fuse", "fuse_files", "read_samples"]


def fuse(
    model: Backbone,
    images: Mapping[str, NDArray[Any]],
    *,
    colour: str | None = None,
    stretch: Stretch = "none",
    windows: Mapping[str, tuple[float, float]] | None = None,
    resample: bool = False,
    align: bool = False,
    name: str = "image",
) -> NDArray[Any]:
    """Fuse registered images of one scene in one pass, whatever their size.

    Luminance is fused; the chroma of one source is put back. The result is RGB if there is such
    a source, else grey: sources that are grey, though stored as RGB, give a grey (h, w) result,
    unless ``colour`` names one of them.

    Args:
        model: A backbone, on any device.
        images: Modality name -> (h, w) or (h, w, 3), uint8, uint16, or float in [0, 1]; at least
            16 x 16 pixels.
        colour: Modality whose chroma and depth the result has; ``none`` for a grey result with
            the depth of the first source; by default the source with real colour (several: the
            one called visible, else the first), else as ``none``.
        stretch: ``minmax`` stretches the fused luminance to the whole range, as EMMA's official
            script does before it saves; it changes EN, SD, SF and AG.
        windows: Modality -> (low, high) in the units of its pixels: ``low`` becomes 0, ``high`` 1,
            and floats of any range will do; by default the range of the type.
        resample: Bring sources of unequal size but one aspect ratio to the size of the colour
            source, else of the largest; by default they are refused.
        align: Move the sources by a translation of up to 32 pixels onto the colour source, else
            onto the first, where one can be found that is to be trusted.
        name: File stem of the scene, for backbones that look results up by it.

    Returns:
        (h, w) or (h, w, 3) with the size and dtype of the colour source or the first; floats in
        [0, 1].

    Raises:
        FusionkitError: for fewer than two sources, unequal sizes, pixels that are no image, or a
            model that gives NaN.
    """
    _check_stretch(stretch)
    prepared = prepare(images, colour=colour, windows=windows, resampled=resample, align=align)
    return _fused(model, prepared, images[prepared.kept].dtype, stretch, name)


def _fused(
    model: Backbone, prepared: Prepared, dtype: DTypeLike, stretch: Stretch, name: str
) -> NDArray[Any]:
    fused = model.fuse(Sample(name, dict(prepared.luma)))
    if not fused.isfinite().all():
        raise FusionkitError(
            f"the backbone {model.name!r} gave NaN or infinite values for {name}; "
            f"its weights are damaged or its training diverged"
        )
    fused = stretched(fused, stretch)
    if prepared.chroma is None:
        return from_float(fused[0].numpy(), dtype)
    return from_float(join_chroma(fused, prepared.chroma).movedim(0, -1).numpy(), dtype)


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
        colour: See ``fuse``.
        stretch: See ``fuse``.
        windows: Modality -> (low, high), or ``LOW:HIGH``, ``LOW%:HIGH%`` (percentiles of all images
            of the modality together) or ``full`` (the range of the type). By default grey images
            that use a narrow part of 16 bits, or floats outside [0, 1], get ``0.5%:99.5%``.
        resample: See ``fuse``.
        align: See ``fuse``.
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
    _check_stretch(stretch)
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
            fused = _fused(model, prepared, images[prepared.kept].dtype, stretch, pair.id)
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


def _check_stretch(stretch: str) -> None:
    if stretch not in ("none", "minmax"):
        raise FusionkitError(f"stretch: expected none or minmax, found {stretch!r}")


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
