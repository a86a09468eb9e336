"""Fuses numpy images: any size, colour and bit depth kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import DTypeLike, NDArray

from fusionkit.errors import FusionkitError
from fusionkit.functional.colour import join_chroma
from fusionkit.functional.stretching import Stretch, stretched
from fusionkit.inference.preprocessing import SMALLEST, Prepared, colour_of, prepare
from fusionkit.interfaces import Backbone, Sample
from fusionkit.io.images import from_float

__all__ = ["SMALLEST", "check_stretch", "colour_of", "fuse", "fuse_prepared"]


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
    check_stretch(stretch)
    prepared = prepare(images, colour=colour, windows=windows, resampled=resample, align=align)
    return fuse_prepared(model, prepared, images[prepared.kept].dtype, stretch, name)


def fuse_prepared(
    model: Backbone, prepared: Prepared, dtype: DTypeLike, stretch: Stretch, name: str
) -> NDArray[Any]:
    """Fuse sources that ``prepare`` made fit; see ``fuse``."""
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


def check_stretch(stretch: str) -> None:
    """Refuse a stretch that there is not."""
    if stretch not in ("none", "minmax"):
        raise FusionkitError(f"stretch: expected none or minmax, found {stretch!r}")
