"""Fuses images of any size in overlapping tiles: read, fused and handed on band after band."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from fusionkit.errors import FusionkitError
from fusionkit.inference.finishing import finished, fused_luminance
from fusionkit.inference.preprocessing import PreprocessedPair, preprocess
from fusionkit.inference.runner import NetworkRunner
from fusionkit.inference.sources import FusionOptions, OpenedSources
from fusionkit.inference.symmetrize import Symmetrized
from fusionkit.interfaces import Backbone
from fusionkit.io.images import OpenedImage, has_colour, open_image
from fusionkit.io.pairs import Pair

__all__ = ["TiledImage", "choose_tile", "fuse_in_tiles"]

OVERLAP = 96
"""Pixels that neighbouring tiles share, in which one fades into the other."""
_TILE = 1280
"""Side of a tile that is chosen automatically."""
_WHOLE = 6_000_000
"""Images of more pixels are fused in tiles, also where memory is plenty."""
_BYTES = 600
"""Memory that fusing a whole image takes per pixel, at most, with packaged models."""
_PART = 256
"""Side of the parts of a large image that give its statistics."""
_PARTS = 12
"""Number of these parts."""


@dataclass(frozen=True)
class TiledImage:
    """A fused image that comes in bands of rows.

    Attributes:
        shape: (h, w) or (h, w, 3) of the whole image.
        dtype: Type of its pixels.
        reference_modality: The source that gives its type and colour.
        bands: Its rows from top to bottom; each band is fused when it is asked for.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    reference_modality: str
    bands: Iterator[NDArray[Any]]

    def whole(self) -> NDArray[Any]:
        """Return all rows as one array."""
        return np.concatenate(list(self.bands))


def choose_tile(network: Backbone, pair: Pair, options: FusionOptions) -> int | None:
    """Return the side of the tiles that a pair is fused in, or None to fuse it whole.

    Args:
        network: The network; one that looks up results by name can't be fused in tiles.
        pair: The sources.
        options: ``tile``: a side in pixels, ``off``, or ``auto``, which takes tiles above six
            megapixels, or less where memory is short.

    Raises:
        FusionkitError: if tiles are asked for by size, and sources, network or options need the
            whole image.

    Example:
        >>> import fusionkit as fk
        >>> from fusionkit.io.pairs import pair_images
        >>> pair = pair_images({"mri": np.zeros((20, 30)), "pet": np.zeros((20, 30))})
        >>> choose_tile(fk.build("backbone", name="average"), pair, FusionOptions()) is None
        True
    """
    if options.tile == "off":
        return None
    pixels = max(math.prod(size) for size in pair.sizes.values())
    if options.tile == "auto" and pixels <= min(_WHOLE, free_memory() // 2 // _BYTES):
        return None
    reason = _needs_whole(network, pair, options)
    if reason is None:
        return _TILE if options.tile == "auto" else options.tile
    if options.tile == "auto":
        return None
    raise FusionkitError(f"tile: {reason}; use --tile off")


def fuse_in_tiles(
    runner: NetworkRunner, pair: Pair, sources: OpenedSources, tile: int
) -> TiledImage:
    """Fuse a pair in tiles; memory is bounded by a band of tiles, whatever the size of the image.

    Neighbouring tiles overlap by 96 pixels, in which one fades into the other. A network whose
    result depends on the whole image takes its statistics from parts that are spread over it.

    Args:
        runner: The network.
        pair: The sources, of one size. TIFF files are read window by window.
        sources: Windows and options.
        tile: Side of a tile in pixels, more than twice the overlap.

    Raises:
        FusionkitError: as ``preprocess`` and ``fuse_preprocessed``, also while bands are taken.

    Example:
        >>> import fusionkit as fk
        >>> from fusionkit.io.pairs import pair_images
        >>> pair = pair_images({"mri": np.zeros((300, 400)), "pet": np.ones((300, 400))})
        >>> runner = NetworkRunner(fk.build("backbone", name="average"))
        >>> tiled = fuse_in_tiles(runner, pair, OpenedSources([pair], FusionOptions()), 256)
        >>> tiled.shape, float(abs(tiled.whole() - 0.5).max()) < 1e-6
        ((300, 400), True)
    """
    return _Tiling(runner, pair, sources, tile).image()


def free_memory() -> int:
    """Return the bytes of memory that are free for this process, as far as the system tells.

    Example:
        >>> free_memory() > 0
        True
    """
    free = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    try:
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                free.append(int(line.split()[1]) * 1024)
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="utf-8").strip()
        used = Path("/sys/fs/cgroup/memory.current").read_text(encoding="utf-8")
        if limit != "max":
            free.append(max(0, int(limit) - int(used)))
    except (OSError, ValueError):
        pass  # other systems than Linux, or another kind of limit
    return min(free)


def _needs_whole(network: Backbone, pair: Pair, options: FusionOptions) -> str | None:
    """Return why an image can't be fused in tiles, or None if it can."""
    inner = network.backbone if isinstance(network, Symmetrized) else network
    if type(inner).fuse is not Backbone.fuse:
        return f"the backbone {inner.name!r} needs the whole image"
    if len(set(pair.sizes.values())) > 1:
        return "sources of different sizes are resampled as a whole"
    if options.align:
        return "alignment needs the whole image"
    return None


class _Tiling:
    """Plans the tiles of one pair and fuses them."""

    def __init__(self, runner: NetworkRunner, pair: Pair, sources: OpenedSources, tile: int):
        if tile <= 2 * OVERLAP:
            raise FusionkitError(f"tile: expected more than {2 * OVERLAP} pixels, found {tile}")
        self._pair = Pair(
            pair.id,
            {
                name: image if image.reads_windows else open_image(image.read(), name)
                for name, image in pair.images.items()
            },
        )
        self._sources = sources
        self._stride = runner.network.stride
        self._rows = _cuts(pair.size[0], tile, self._stride)
        self._columns = _cuts(pair.size[1], tile, self._stride)
        parts = [self._read(*place) for place in _parts(pair.size)]
        self._options = replace(sources.options, colour=self._colour(parts), align=False)
        samples = [self._preprocess(part).sample for part in parts]
        self._runner = runner.with_statistics_of(samples)

    def image(self) -> TiledImage:
        first = self._preprocess(self._read(slice(0, 16), slice(0, 16)))
        pair, options = self._pair, self._options
        coloured = first.sample.chroma is not None
        dtype = first.dtype if options.bits is None else np.dtype(f"uint{options.bits}")
        shape = (*pair.size, 3) if coloured else pair.size
        low, high = 0.0, 1.0
        if options.stretch == "minmax":
            # The extremes of the whole image are known only when all of it was fused once.
            extremes = [band.aminmax() for _, band in self._luminance()]
            low = min(float(band.min) for band in extremes)
            high = max(float(band.max) for band in extremes)
        return TiledImage(shape, dtype, first.reference_modality, self._bands(low, high))

    def _bands(self, low: float, high: float) -> Iterator[NDArray[Any]]:
        for start, fused in self._luminance():
            rows = slice(start, start + fused.shape[-2])
            scene = self._preprocess(self._read(rows, slice(0, self._pair.size[1])))
            stretched = (fused - low) / max(high - low, 1e-12) if (low, high) != (0, 1) else fused
            yield finished(stretched, scene, replace(self._options, stretch="none"))

    def _luminance(self) -> Iterator[tuple[int, Float[Tensor, "1 h w"]]]:
        """Yield the first row and the fused luminance of each band; their rows don't overlap."""
        carried: Tensor | None = None
        last = len(self._rows) - 1
        for number, (top, bottom) in enumerate(self._rows):
            band = self._fuse_band(top, bottom)
            if carried is not None:
                weight = _fade(carried.shape[-2])[:, None]
                shared = band[:, : carried.shape[-2]]
                shared.mul_(weight).add_(carried * (1 - weight))
            if number < last:
                kept = self._rows[number + 1][0] - top
                carried, band = band[:, kept:].clone(), band[:, :kept]
            yield top, band

    def _fuse_band(self, top: int, bottom: int) -> Float[Tensor, "1 h w"]:
        """Fuse the tiles of a row, and let each fade into the next."""
        band = torch.empty(1, bottom - top, self._pair.size[1])
        done = 0
        for left, right in self._columns:
            scene = self._preprocess(self._read(slice(top, bottom), slice(left, right)))
            tile = fused_luminance(self._runner, scene)
            shared = max(0, done - left)
            if shared:
                weight = _fade(shared)
                place = band[..., left : left + shared]
                place.mul_(1 - weight).add_(tile[..., :shared] * weight)
            band[..., left + shared : right] = tile[..., shared:]
            done = right
        return band

    def _read(self, rows: slice, columns: slice) -> dict[str, OpenedImage]:
        return {
            name: open_image(np.asarray(image.read_window(rows, columns)), name)
            for name, image in self._pair.images.items()
        }

    def _preprocess(self, images: Mapping[str, OpenedImage]) -> PreprocessedPair:
        pair = Pair(self._pair.id, images)
        options = getattr(self, "_options", self._sources.options)
        return preprocess(pair, OpenedSources([pair], options, self._sources.windows))

    def _colour(self, parts: list[dict[str, OpenedImage]]) -> str:
        """Return the colour source: one with colour in any of the parts."""
        chosen = self._sources.options.colour
        if chosen is not None:
            return chosen
        coloured = [
            name
            for name in self._pair.images
            if any(has_colour(part[name].read()) for part in parts)
        ]
        return "visible" if "visible" in coloured else next(iter(coloured), "none")


def _cuts(length: int, tile: int, stride: int) -> list[tuple[int, int]]:
    """Return (start, stop) of tiles of about equal length; each shares OVERLAP with the next."""
    if length <= tile:
        return [(0, length)]
    count = math.ceil((length - OVERLAP) / (tile - OVERLAP))
    step = (length - OVERLAP) / count
    starts = [round(number * step / stride) * stride for number in range(count)]
    stops = [following + OVERLAP for following in starts[1:]]
    return list(zip(starts, [*stops, length], strict=True))


def _parts(size: tuple[int, int]) -> list[tuple[slice, slice]]:
    """Return places of parts that are spread evenly over an image; all are of one size."""
    height, width = (min(side, _PART) for side in size)
    rows = max(1, min(round(math.sqrt(_PARTS * size[0] / size[1])), size[0] // height, _PARTS))
    columns = max(1, min(_PARTS // rows, size[1] // width))
    return [
        (slice(top, top + height), slice(left, left + width))
        for top in _spread(size[0] - height, rows)
        for left in _spread(size[1] - width, columns)
    ]


def _spread(room: int, count: int) -> list[int]:
    return [room // 2] if count == 1 else [round(room * k / (count - 1)) for k in range(count)]


def _fade(length: int) -> Float[Tensor, " length"]:
    """Return weights that rise from 0 to 1."""
    return (torch.arange(length) + 0.5) / length
