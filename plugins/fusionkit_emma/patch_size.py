"""Checks before the training that the networks accept the size of the patches."""

from __future__ import annotations

from fusionkit.errors import FusionkitError
from fusionkit.interfaces import RunContext


def check_patch_size(run: RunContext, crop: int | None, stride: int, user: str) -> None:
    """Raise FusionkitError unless height and width of the patches are multiples of ``stride``.

    Args:
        run: The run whose training patches are checked.
        crop: Side of the window that is cut from each patch; None if whole patches are used.
        stride: The number of which height and width must be multiples.
        user: The network that needs it, for the message.
    """
    patches = run.components.patches
    size = next(iter(patches[0].images.values())).shape[-2:]
    if crop is not None and crop > min(size):
        raise FusionkitError(f"crop={crop} is larger than the patches of {size[0]}x{size[1]}")
    for extent in (crop,) if crop is not None else size:
        if extent % stride:
            raise FusionkitError(
                f"{user} needs sides that are multiples of {stride}; "
                f"{'crop' if crop is not None else 'the side of a patch'} is {extent}"
            )
