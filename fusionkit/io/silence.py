"""Keeps what decoders warn of, before errors or about metadata, from users."""

from __future__ import annotations

import logging
import threading
import warnings

__all__ = ["silence"]


class _Silence(logging.Filter):
    """Silences the log of tifffile and Python's warnings while at least one thread is inside.

    Several threads decode at a time, so the first one in turns it on and the last one out, off.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._users = 0
        self._warnings = warnings.catch_warnings()

    def filter(self, record: logging.LogRecord) -> bool:
        return False

    def __enter__(self) -> None:
        with self._lock:
            self._users += 1
            if self._users == 1:
                logging.getLogger("tifffile").addFilter(self)
                self._warnings = warnings.catch_warnings()
                self._warnings.__enter__()
                warnings.simplefilter("ignore")

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._warnings.__exit__(None, None, None)
                logging.getLogger("tifffile").removeFilter(self)


silence = _Silence()
"""The one that all threads share: ``with silence: ...``"""
