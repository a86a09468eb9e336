"""Checks of the names of sources, and of options that name one."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from fusionkit.errors import FusionkitError, nearest

__all__ = ["check_modalities", "check_modality", "check_sources"]


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


def check_modalities(user: str, modalities: Sequence[str]) -> tuple[str, ...]:
    """Return modality names if there are two or more different ones.

    Args:
        user: The component that fuses them, for the message.
        modalities: Names of its sources.

    Raises:
        FusionkitError: for fewer than two names, or a repeated one.

    Example:
        >>> check_modalities("ufuser", ["infrared", "visible"])
        ('infrared', 'visible')
    """
    if len(modalities) < 2 or len(set(modalities)) < len(modalities):
        raise FusionkitError(
            f"{user} fuses two or more different modalities, found {list(modalities)}"
        )
    return tuple(modalities)


def check_sources(user: str, modalities: Sequence[str], sources: Collection[str]) -> None:
    """Raise if a modality that a component was built for is missing among the sources.

    Args:
        user: The component, for the message.
        modalities: The names that it was built for.
        sources: The names that it was given; more than it needs are fine.

    Raises:
        FusionkitError: with the names that are missing.

    Example:
        >>> check_sources("ufuser", ["infrared", "visible"], ["visible", "infrared", "depth"])
    """
    if missing := [name for name in modalities if name not in sources]:
        raise FusionkitError(
            f"{user} was built for {', '.join(modalities)}; missing {', '.join(missing)} among "
            f"the sources {', '.join(sources)}"
        )
