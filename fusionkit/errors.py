"""The one exception that is the user's to mend."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["FusionkitError", "WriteError", "nearest"]


class FusionkitError(Exception):
    """A mistake of the user's: what was expected, what was found, and what to do, in one message.

    The command line prints the message alone, without a traceback, and exits with code 2.

    Example:
        >>> import fusionkit as fk
        >>> try:
        ...     fk.build("backbone", name="averag")
        ... except fk.FusionkitError as error:
        ...     "did you mean 'average'" in str(error)
        True
    """


class WriteError(FusionkitError):
    """A file that can't be written, because the disk is full or the folder is protected.

    Work on many files stops at it, because the next file would fail as well.
    """


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the known word nearest to ``word``, or ``""``.

    >>> nearest("ufusr", ["ufuser", "average"])
    "; did you mean 'ufuser'?"
    >>> nearest("zzz", ["ufuser", "average"])
    ''
    """
    names = list(known)
    by_fold = {name.casefold(): name for name in names}
    found = difflib.get_close_matches(word.casefold(), by_fold, n=1, cutoff=0.6)
    return f"; did you mean {by_fold[found[0]]!r}?" if found else ""
