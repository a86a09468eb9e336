"""Multi-modality image fusion without ground truth: a small core and its plugins.

Example:
    >>> import fusionkit as fk
    >>> fk.build("backbone", name="average").name
    'average'
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fusionkit.errors import FusionkitError

if TYPE_CHECKING:
    from fusionkit.api import build, evaluate, fuse, load, save
    from fusionkit.hookspecs import hookimpl
    from fusionkit.registry.plugin_files import load_plugin

__version__ = "0.1.0"

__all__ = [
    "FusionkitError",
    "__version__",
    "build",
    "evaluate",
    "fuse",
    "hookimpl",
    "load",
    "load_plugin",
    "save",
]

# Imported on first use: `from fusionkit import hookimpl` in a plugin must not import torch.
_MODULES = {
    "build": "fusionkit.api",
    "evaluate": "fusionkit.api",
    "fuse": "fusionkit.api",
    "hookimpl": "fusionkit.hookspecs",
    "load": "fusionkit.api",
    "load_plugin": "fusionkit.registry.plugin_files",
    "save": "fusionkit.api",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'fusionkit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
