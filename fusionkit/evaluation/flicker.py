"""How much a fused video flickers: changes of brightness that its sources don't have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fusionkit.errors import FusionkitError

__all__ = ["Flicker", "measure_flicker"]

_GRID = 8


@dataclass(frozen=True)
class Flicker:
    """Flicker of a video in grey levels of 255 per frame; 0 is steady.

    Attributes:
        whole: Flicker of the mean luminance of the frame.
        local: Flicker of the mean luminance of a block, averaged over 8 x 8 blocks of the frame.
    """

    whole: float
    local: float


def measure_flicker(
    fused: Iterable[NDArray[np.generic]], sources: Iterable[Mapping[str, NDArray[np.generic]]]
) -> Flicker:
    """Measure the changes of brightness in a fused video beyond those in its sources.

    Let ``m`` be the mean luminance of a frame, and ``D = |m(t) - m(t - 1)|`` its change from one
    frame to the next. Flicker is the mean over time of ``max(0, D(fused) - max D(source))``: a
    change as large as that in some source is content, the rest is flicker. Blocks are treated
    alike, one by one. The definition is ours.

    Args:
        fused: Luminance of the fused frames, (h, w), 0 to 255.
        sources: Modality -> luminance of the source frames of the same moments, 0 to 255; of any
            size.

    Raises:
        FusionkitError: for fewer than two frames, or unequal numbers of frames.

    Example:
        >>> steady, dark, bright = (np.full((16, 16), value) for value in (50, 60, 80))
        >>> measure_flicker([dark, bright], [{"ir": steady}, {"ir": steady}]).whole
        20.0
        >>> measure_flicker([dark, bright], [{"ir": dark}, {"ir": bright}]).whole
        0.0
    """
    excess: list[tuple[float, float]] = []
    before: list[NDArray[np.float64]] | None = None
    try:
        for image, frames in zip(fused, sources, strict=True):
            blocks = [_block_means(pixels) for pixels in (image, *frames.values())]
            if before is not None:
                pairs = list(zip(blocks, before, strict=True))
                local = [np.abs(new - old) for new, old in pairs]
                whole = [abs(float(new.mean() - old.mean())) for new, old in pairs]
                excess.append(
                    (
                        max(0.0, whole[0] - max(whole[1:])),
                        float(np.maximum(local[0] - np.maximum.reduce(local[1:]), 0).mean()),
                    )
                )
            before = blocks
    except ValueError as error:
        raise FusionkitError(f"expected as many fused frames as source frames: {error}") from None
    if not excess:
        raise FusionkitError("expected two or more frames, found fewer")
    whole_mean, local_mean = np.mean(excess, axis=0)
    return Flicker(float(whole_mean), float(local_mean))


def _block_means(pixels: NDArray[np.generic]) -> NDArray[np.float64]:
    rows = np.linspace(0, pixels.shape[0], _GRID + 1).astype(int)[:-1]
    columns = np.linspace(0, pixels.shape[1], _GRID + 1).astype(int)[:-1]
    sums = np.add.reduceat(np.add.reduceat(pixels.astype(np.float64), rows, 0), columns, 1)
    heights = np.diff([*rows, pixels.shape[0]])
    widths = np.diff([*columns, pixels.shape[1]])
    return sums / np.outer(heights, widths)
