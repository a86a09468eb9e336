"""deepinv, imported where it is used, and quiet about what is not its users' to mend."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from fusionkit.errors import FusionkitError


def deepinv_module(name: str) -> ModuleType:
    """Import a module of deepinv.

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
            "the groups deepinv-... need deepinv, which is not installed; "
            "run: pip install fusionkit-deepinv"
        ) from None


@contextmanager
def quiet() -> Iterator[None]:
    """Hide warnings, such as those of the meshgrids of deepinv and libcpab."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
