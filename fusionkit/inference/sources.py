"""Sources that were opened and checked, with the options of their fusion."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from fusionkit.errors import FusionkitError
from fusionkit.functional.colour_rules import COLOUR_RULES, ColourRule
from fusionkit.functional.stretching import Stretch
from fusionkit.io.modalities import check_modality
from fusionkit.io.pairs import Pair
from fusionkit.io.windows import Window, find_windows

__all__ = ["SMALLEST", "FusionOptions", "OpenedSources"]

SMALLEST = 16
"""Least height and width in pixels of an image that can be fused."""


@dataclass(frozen=True)
class FusionOptions:
    """How sources are fused, apart from the network.

    Attributes:
        colour: Modality whose chroma and depth the result has; ``none`` for a grey result with the
            depth of the first source. By default it is the source with real colour (the one called
            ``visible`` if there are several, else the first of them); ``none`` if all are grey.
        stretch: ``minmax`` stretches the fused luminance to the whole range, as EMMA's official
            script does before it saves; this changes EN, SD, SF and AG.
        windows: Modality -> (low, high) in the units of its pixels, or ``LOW:HIGH``,
            ``LOW%:HIGH%`` (percentiles of all images of the modality together) or ``full`` (the
            range of the type): ``low`` becomes 0 and ``high`` becomes 1. By default files that are
            grey and use a narrow part of 16 bits, or floats outside [0, 1], get ``0.5%:99.5%``.
        resample: Scale sources of different sizes but one aspect ratio to the size of the colour
            source, or of the largest source if none has colour.
        align: Move the sources by a translation of up to 32 pixels onto the colour source, or onto
            the first source if none has colour, if a reliable translation is found.
        bits: Depth of the result; by default that of the colour source, or of the first source if
            none has colour.
        colour_rule: How the colour is put back: ``oklab``, ``scaled`` or ``ycbcr``; see
            ``functional.colour_rules.restore_colour``. It does not change the luminance.
        tile: Side in pixels of the tiles that large images are fused in, so that memory is bounded
            by a tile; ``off`` fuses each image whole; ``auto`` takes tiles above six megapixels, or
            less where memory is short.
    """

    colour: str | None = None
    stretch: Stretch = "none"
    windows: Mapping[str, Window] = field(default_factory=dict)
    resample: bool = False
    align: bool = False
    bits: Literal[8, 16] | None = None
    colour_rule: ColourRule = "oklab"
    tile: int | Literal["auto", "off"] = "auto"

    def __post_init__(self) -> None:
        if self.tile not in ("auto", "off") and not isinstance(self.tile, int):
            raise FusionkitError(f"tile: expected auto, off or a number, found {self.tile!r}")
        if self.bits not in (None, 8, 16):
            raise FusionkitError(f"bits: expected 8 or 16, found {self.bits!r}")
        if self.stretch not in ("none", "minmax"):
            raise FusionkitError(f"stretch: expected none or minmax, found {self.stretch!r}")
        if self.colour_rule not in COLOUR_RULES:
            raise FusionkitError(
                f"colour_rule: expected {', '.join(COLOUR_RULES)}, found {self.colour_rule!r}"
            )

    def check_modalities(self, modalities: Iterable[str]) -> None:
        """Raise FusionkitError if the colour is to come from a source that does not exist.

        Args:
            modalities: Names of the sources.

        Example:
            >>> FusionOptions(colour="visible").check_modalities(["infrared", "visible"])
        """
        if self.colour is not None:
            check_modality("colour", self.colour, ["none", *modalities])


class OpenedSources:
    """Pairs that can be fused: everything that can be checked before the first pixel was checked.

    It is made once and passes through preprocessing, network and writing, which check none of it
    again.

    Args:
        pairs: At least one pair; all have the same modalities.
        options: How they are to be fused.
        windows: Windows that were found for a set of pairs which these belong to; by default they
            are found for these pairs.

    Attributes:
        pairs: The pairs.
        windows: Modality -> (low, high) in the units of its pixels, for the sources that have one.
        options: How they are to be fused.

    Raises:
        FusionkitError: for an image that is too small, a colour source that does not exist, or a
            window that can't be used.

    Example:
        >>> import numpy as np
        >>> from fusionkit.io.pairs import pair_images
        >>> pair = pair_images({"infrared": np.zeros((20, 30)), "visible": np.zeros((20, 30))})
        >>> OpenedSources([pair], FusionOptions(windows={"infrared": "0:0.5"})).windows
        {'infrared': (0.0, 0.5)}
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        options: FusionOptions,
        windows: Mapping[str, tuple[float, float]] | None = None,
    ):
        modalities = list(pairs[0].images)
        options.check_modalities(modalities)
        for pair in pairs:
            for image in pair.images.values():
                if min(image.size) < SMALLEST:
                    raise FusionkitError(
                        f"{image.name}: expected at least {SMALLEST}x{SMALLEST} pixels, "
                        f"found {image.size[0]}x{image.size[1]}; leave it out or give a larger one"
                    )
        self.pairs = tuple(pairs)
        self.options = options
        self.windows = dict(
            find_windows(
                {modality: [pair.images[modality] for pair in pairs] for modality in modalities},
                options.windows,
            )
            if windows is None
            else windows
        )
