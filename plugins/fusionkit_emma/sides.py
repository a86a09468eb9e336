"""Checks before training that patches and crops have sides the networks can take."""

from __future__ import annotations

from fusionkit.errors import FusionkitError
from fusionkit.interfaces import RunContext


def check_side(run: RunContext, crop: int | None, stride: int, who: str) -> None:
    """Raise FusionkitError unless patches, or crops of them, have multiples of ``stride``.

    Args:
        run: The run whose training patches are meant.
        crop: Side of the window cut from each patch, if any.
        stride: What height and width must be multiples of.
        who: Asks for it, for the message.
    """
    patches = run.components.patches
    if not patches:
        raise FusionkitError("the data set has no training patches")
    side = next(iter(patches[0].images.values())).shape[-2:]
    if crop is not None and crop > min(side):
        raise FusionkitError(f"crop={crop} is larger than the patches of {side[0]}x{side[1]}")
    for extent in (crop,) if crop is not None else side:
        if extent % stride:
            raise FusionkitError(
                f"{who} needs sides that are multiples of {stride}; "
                f"{'crop' if crop is not None else 'the patches'} would be {extent}"
            )
