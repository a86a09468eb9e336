"""Shows the messages of the library on standard error, as plain lines."""

from __future__ import annotations

import logging
import re
import sys
from contextlib import suppress

__all__ = ["log_to_stderr", "printable"]

_COMMANDS = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Control characters but line break and tab, marks of the direction of writing, and halves of
characters, which are bytes in names of files that are no UTF-8."""


class _StderrHandler(logging.Handler):
    """Writes each record to the current ``sys.stderr``, which progress bars and tests replace."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line and flush it; a full disk behind standard error stops no work."""
        prefix = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        with suppress(OSError):
            print(prefix + printable(record.getMessage()), file=sys.stderr, flush=True)


def printable(text: str) -> str:
    r"""Return a message with escapes for characters that would command the terminal.

    Messages hold names of files, which may come from a stranger.

    Example:
        >>> print(printable("\x1b[2Ja\u202egnp.txt"))
        \x1b[2Ja\u202egnp.txt
    """
    return _COMMANDS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def log_to_stderr(level: int = logging.INFO) -> None:
    """Show messages of the logger ``fusionkit`` from a level on.

    Calling it again changes the level.

    Args:
        level: Lowest level to show.
    """
    logger = logging.getLogger("fusionkit")
    logger.setLevel(level)
    logger.propagate = False
    if not any(isinstance(handler, _StderrHandler) for handler in logger.handlers):
        logger.addHandler(_StderrHandler())
