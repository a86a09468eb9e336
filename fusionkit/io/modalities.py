"""A check of options that name a source."""

from __future__ import annotations

from collections.abc import Collection

from fusionkit.errors import FusionkitError, nearest

__all__ = ["check_modality"]


def check_modality(option: str, name: str, known: Collection[str]) -> None:
    """Raise unless an option names one of the known modalities.

    Args:
        option: The option, for the message.
        name: The value of the option.
        known: The values that it may have.

    Raises:
        FusionkitError: with the known names, and the nearest of them.

    Example:
        >>> check_modality("colour", "red", ["infrared", "visible"])
        Traceback (most recent call last):
        fusionkit.errors.FusionkitError: colour: expected one of infrared, visible, found 'red'
    """
    if name not in known:
        raise FusionkitError(
            f"{option}: expected one of {', '.join(known)}, found {name!r}" + nearest(name, known)
        )
