"""SHA-256 of files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from fusionkit.errors import FusionkitError

__all__ = ["file_hash"]


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file, as 64 hexadecimal digits.

    Raises:
        FusionkitError: if the file can't be read.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "empty"
        ...     path.touch()
        ...     file_hash(path)[:12]
        'e3b0c44298fc'
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise FusionkitError(f"{path} can't be read: {error.strerror}") from None
