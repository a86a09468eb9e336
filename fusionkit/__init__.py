"""Multi-modality image fusion without ground truth, as plugins of a small core."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fusionkit.errors import FusionkitError
from fusionkit.hookspecs import hookimpl

if TYPE_CHECKING:
    from fusionkit.api import build, evaluate, load, save
    from fusionkit.inference.fusion import fuse
    from fusionkit.registry.plugin_files import load_plugin

__all__ = ["FusionkitError", "build", "evaluate", "fuse", "hookimpl", "load", "load_plugin", "save"]

# Imported when first used: a plugin's `from fusionkit import hookimpl` must not cost torch.
_LAZY = {
    "build": "fusionkit.api",
    "evaluate": "fusionkit.api",
    "load": "fusionkit.api",
    "load_plugin": "fusionkit.registry.plugin_files",
    "save": "fusionkit.api",
    "fuse": "fusionkit.inference.fusion",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'fusionkit' has no attribute {name!r}")
