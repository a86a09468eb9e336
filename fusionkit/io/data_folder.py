"""Where published data sets lie on this machine."""

from __future__ import annotations

import os
from pathlib import Path

from fusionkit.errors import FusionkitError

__all__ = ["VARIABLE", "data_folder", "find_data"]

VARIABLE = "FUSIONKIT_DATA"
"""Environment variable that names the folder of the data sets."""


def data_folder() -> Path:
    """Return the folder of all data sets; it need not exist.

    It is ``$FUSIONKIT_DATA``, else ``fusionkit/data`` below ``$XDG_DATA_HOME``, which is
    ``~/.local/share`` by default.

    Example:
        >>> data_folder().is_absolute()
        True
    """
    if named := os.environ.get(VARIABLE):
        return Path(named).expanduser().absolute()
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "fusionkit" / "data"


def find_data(folder: str, root: Path | None = None) -> Path:
    """Return the folder of a published data set.

    Args:
        folder: Its name below ``data_folder()``; upper and lower case are the same if no folder
            has exactly this name.
        root: The folder that the user names; it is returned as it is.

    Raises:
        FusionkitError: if there is no such folder; says how to get it.

    Example:
        >>> import tempfile
        >>> from unittest import mock
        >>> with tempfile.TemporaryDirectory() as base:
        ...     Path(base, "MSRS").mkdir()
        ...     with mock.patch.dict(os.environ, {VARIABLE: base}):
        ...         find_data("msrs").name
        'MSRS'
    """
    if root is not None:
        return Path(root)
    base = data_folder()
    if (base / folder).is_dir():
        return base / folder
    try:
        others = sorted(path for path in base.iterdir() if path.is_dir())
    except OSError:
        others = []
    for path in others:
        if path.name.casefold() == folder.casefold():
            return path
    raise FusionkitError(
        f"expected the data set at {base / folder}, found nothing; download it with "
        f"`fusionkit data get {folder.lower()}`, name its folder by root, or set {VARIABLE} to the "
        f"folder that holds it"
    )
