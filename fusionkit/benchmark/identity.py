"""What results depend on: component arguments, the files these name, code, and versions."""

from __future__ import annotations

import hashlib
import importlib.metadata
import inspect
import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

from fusionkit.interfaces import ComponentSpec
from fusionkit.io.hashes import file_hash
from fusionkit.io.images import SUFFIXES
from fusionkit.registry.components import Registry

__all__ = ["component_identity", "digest_of", "versions"]

_PACKAGES = (
    "fusionkit-mmif",
    "torch",
    "torchvision",
    "numpy",
    "pillow",
    "timm",
    "kornia",
    "segmentation-models-pytorch",
    "ultralytics",
)


def digest_of(value: Any) -> str:
    """Return a hash of plain values; the order of keys does not count.

    Example:
        >>> digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})
        True
    """
    text = json.dumps(value, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def component_identity(registry: Registry, spec: ComponentSpec) -> dict[str, Any]:
    """Return what the results of a component depend on: arguments, files they name, and code."""
    return {
        "component": spec.to_dict(),
        "files": _file_hashes(spec),
        "code": _module_hash(registry.get(spec.kind, spec.name).cls),
    }


@cache
def versions() -> dict[str, str]:
    """Return package -> version, for Python and the packages that results may depend on."""
    found = {"python": ".".join(map(str, sys.version_info[:2]))}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@cache
def _module_hash(cls: type) -> str:
    """Return a hash of the module that defines a class; it may change without a new version.

    Modules that this module imports do not count.
    """
    path = inspect.getsourcefile(cls)
    return file_hash(Path(path))[:24] if path else ""


def _file_hashes(value: Any) -> dict[str, str]:
    """Return path -> hash for the files that arguments name, and for the images in such folders.

    The name of a component never counts as a path, even if a folder has the same name.
    """
    found: dict[str, str] = {}
    if isinstance(value, ComponentSpec):
        found = _file_hashes(dict(value.arguments))
    elif isinstance(value, dict):
        for item in value.values():
            found |= _file_hashes(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            found |= _file_hashes(item)
    elif isinstance(value, (str, Path)) and len(str(value)) < 4096:
        path = Path(value)
        if path.is_file():
            found[path.name] = file_hash(path)
        elif str(value) and path.is_dir():
            images = (p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
            found |= {f"{path.name}/{p.name}": file_hash(p) for p in sorted(images)}
    return found
