"""Fuses numpy images and folders of files: any size, colour and bit depth kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fusionkit.errors import FusionkitError, nearest
from fusionkit.files import make_folder
from fusionkit.functional.colour import join_chroma, split_chroma
from fusionkit.functional.stretching import Stretch, stretched
from fusionkit.images import SUFFIXES, from_float, read_image, to_float, write_image
from fusionkit.interfaces import Backbone, Sample
from fusionkit.pairs import Pair, find_pairs

__all__ = ["SMALLEST", "colour_of", "fuse", "fuse_files", "read_samples"]

SMALLEST = 16
"""Least height and width in pixels of an image to fuse."""


def fuse(
    model: Backbone,
    images: Mapping[str, NDArray[Any]],
    *,
    colour: str | None = None,
    stretch: Stretch = "none",
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
        name: File stem of the scene, for backbones that look results up by it.

    Returns:
        (h, w) or (h, w, 3) with the size and dtype of the colour source or the first.

    Raises:
        FusionkitError: for fewer than two sources, unequal sizes, pixels that are no image, or a
            model that gives NaN.
    """
    if len(images) < 2:
        raise FusionkitError(f"expected two or more sources, found {', '.join(images) or 'none'}")
    _check_stretch(stretch)
    for modality, image in images.items():
        _check_image(modality, image)
    sizes = {modality: image.shape[:2] for modality, image in images.items()}
    if len(set(sizes.values())) > 1:
        described = ", ".join(f"{modality} {h}x{w}" for modality, (h, w) in sizes.items())
        raise FusionkitError(
            f"the sources have unequal sizes (height x width): {described}; "
            f"register them pixel by pixel first"
        )
    kept = colour_of(images, colour)
    luma: dict[str, Tensor] = {}
    chroma: Tensor | None = None
    for modality, image in images.items():
        try:
            values = torch.from_numpy(to_float(image))
        except FusionkitError as error:
            raise FusionkitError(f"{modality}: {error}") from None
        if values.ndim == 2:
            luma[modality] = values[None]
            continue
        luma[modality], colours = split_chroma(values.movedim(-1, 0).contiguous())
        if modality == kept:
            chroma = colours
    fused = model.fuse(Sample(name, luma))
    if not fused.isfinite().all():
        raise FusionkitError(
            f"the backbone {model.name!r} gave NaN or infinite values for {name}; "
            f"its weights are damaged or its training diverged"
        )
    fused = stretched(fused, stretch)
    dtype = images[kept or next(iter(images))].dtype
    if chroma is None:
        return from_float(fused[0].numpy(), dtype)
    return from_float(join_chroma(fused, chroma).movedim(0, -1).numpy(), dtype)


def colour_of(images: Mapping[str, NDArray[Any]], colour: str | None) -> str | None:
    """Return the modality whose colour the result keeps, None for a grey result.

    Raises:
        FusionkitError: if ``colour`` names no source.
    """
    _check_colour(images, colour)
    if colour is not None:
        return None if colour == "none" else colour
    coloured = [
        modality
        for modality, image in images.items()
        if image.ndim == 3 and (image != image[..., :1]).any()
    ]
    return "visible" if "visible" in coloured else next(iter(coloured), None)


def fuse_files(
    model: Backbone,
    sources: Mapping[str, Path],
    out: Path,
    *,
    colour: str | None = None,
    stretch: Stretch = "none",
    suffix: str | None = None,
    progress: Callable[[int, int, Path], None] = lambda done, total, path: None,
) -> list[Path]:
    """Fuse files or folders; all pairs and the output are checked before the first is fused.

    Args:
        model: A backbone.
        sources: Modality name -> file, or folder of files paired by stem.
        out: For files: a file if it ends like an image, else a folder. For folders: a folder.
        colour: See ``fuse``.
        stretch: See ``fuse``.
        suffix: Format of the results in a folder, as ``.png``; by default that of the source whose
            colour or depth they have, but PNG for JPEG, so as not to compress twice.
        progress: Called with how many are done, how many there are, and the file written.

    Returns:
        The files written, each whole or not at all.

    Raises:
        FusionkitError: for pairs that don't fit, or an output that can't be written, can't hold
            the pixels, or would replace a source.
    """
    _check_stretch(stretch)
    _check_colour(sources, colour)
    if suffix is not None and suffix.lower() not in SUFFIXES:
        raise FusionkitError(f"suffix: expected one of {', '.join(SUFFIXES)}, found {suffix!r}")
    pairs = find_pairs(sources)
    for pair in pairs:
        if min(pair.size) < SMALLEST:
            raise FusionkitError(
                f"{next(iter(pair.paths.values()))} has {pair.size[0]}x{pair.size[1]} pixels; "
                f"at least {SMALLEST}x{SMALLEST} are needed"
            )
    single = all(path.is_file() for path in sources.values())
    to_file = single and out.suffix.lower() in SUFFIXES
    _check_apart(pairs, out, to_file)
    if to_file and out.is_dir():
        raise FusionkitError(f"expected a file to write, found the folder {out}")
    make_folder(out.parent if to_file else out)
    written = []
    for index, pair in enumerate(pairs, start=1):
        images = {modality: read_image(path) for modality, path in pair.paths.items()}
        try:
            fused = fuse(model, images, colour=colour, stretch=stretch, name=pair.id)
        except FusionkitError as error:
            raise FusionkitError(f"{pair.id}: {error}") from None
        target = out if to_file else out / (pair.id + (suffix or _suffix(pair, images, colour)))
        write_image(target, fused)
        written.append(target)
        progress(index, len(pairs), target)
    return written


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


def _suffix(pair: Pair, images: Mapping[str, NDArray[Any]], colour: str | None) -> str:
    """Keep the format of the source that gave colour and depth, but never lose by it.

    Compressing a second time would cost quality and change every score, so that JPEG becomes PNG.
    """
    kept = colour_of(images, colour) or next(iter(images))
    suffix = pair.paths[kept].suffix
    return ".png" if suffix.lower() in (".jpg", ".jpeg") else suffix


def _check_stretch(stretch: str) -> None:
    if stretch not in ("none", "minmax"):
        raise FusionkitError(f"stretch: expected none or minmax, found {stretch!r}")


def _check_colour(modalities: Iterable[str], colour: str | None) -> None:
    names = list(modalities)
    if colour not in (None, "none", *names):
        raise FusionkitError(
            f"colour: expected none or one of the sources {', '.join(names)}, found {colour!r}"
            + nearest(colour, ["none", *names])
        )


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


def _check_image(modality: str, image: NDArray[Any]) -> None:
    if not isinstance(image, np.ndarray):
        raise FusionkitError(f"{modality}: expected a numpy array, found {type(image).__name__}")
    if not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)):
        raise FusionkitError(
            f"{modality}: expected an image of shape (h, w) or (h, w, 3), found {image.shape}"
        )
    if min(image.shape[:2]) < SMALLEST:
        raise FusionkitError(
            f"{modality}: expected at least {SMALLEST}x{SMALLEST} pixels, "
            f"found {image.shape[0]}x{image.shape[1]}"
        )
