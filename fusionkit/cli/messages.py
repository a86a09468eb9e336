"""Messages for the user: what the library logs goes to the error output, as plain lines."""

from __future__ import annotations

import logging
import sys

__all__ = ["log_to_stderr"]


class _StderrHandler(logging.Handler):
    """Writes each record to the error output as it is now, tests replace it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line, at once."""
        prefix = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        print(prefix + record.getMessage(), file=sys.stderr, flush=True)


def log_to_stderr(level: int = logging.INFO) -> None:
    """Show the messages of the logger ``fusionkit`` from a level on; calling it again sets it."""
    logger = logging.getLogger("fusionkit")
    logger.setLevel(level)
    logger.propagate = False
    if not any(isinstance(handler, _StderrHandler) for handler in logger.handlers):
        logger.addHandler(_StderrHandler())
