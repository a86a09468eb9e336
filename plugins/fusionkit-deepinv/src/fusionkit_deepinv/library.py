"""Import of deepinv when it is needed, without its warnings."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from fusionkit.errors import FusionkitError


def deepinv_module(name: str) -> ModuleType:
    """Import and return a module of deepinv.

    Raises:
        FusionkitError: if deepinv is not installed.
    """
    try:
        with quiet():
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "deepinv":
            raise
        raise FusionkitError(
            "the transforms deepinv-* need deepinv, which is not installed; "
            "run: pip install fusionkit-deepinv"
        ) from None


@contextmanager
def quiet() -> Iterator[None]:
    """Hide warnings of deepinv and libcpab, which a user of fusionkit cannot fix."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
