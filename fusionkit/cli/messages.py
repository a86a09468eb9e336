"""Shows the messages of the library on standard error, as plain lines."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress

__all__ = ["log_to_stderr"]


class _StderrHandler(logging.Handler):
    """Writes each record to the current ``sys.stderr``, which progress bars and tests replace."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line and flush it; a full disk behind standard error stops no work."""
        prefix = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        with suppress(OSError):
            print(prefix + record.getMessage(), file=sys.stderr, flush=True)


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
