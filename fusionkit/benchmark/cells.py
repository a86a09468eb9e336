"""Finished parts of a benchmark, found again by all that their results follow from."""

from __future__ import annotations

import hashlib
import importlib.metadata
import inspect
import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from fusionkit.interfaces import ComponentSpec
from fusionkit.io.atomic_write import locked, make_folder, write_json
from fusionkit.io.hashes import file_hash
from fusionkit.io.images import SUFFIXES
from fusionkit.registry.components import Registry

__all__ = ["Cells", "digest_of", "identity", "versions"]

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


class Cells:
    """A folder of JSON files, one for each finished cell, named by the hash of its inputs."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.computed = 0
        self.found = 0

    def get(self, key: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the result of a cell that was finished before."""
        path = self.folder / f"{digest_of(key)}.json"
        if not path.is_file():
            return None
        self.found += 1
        return json.loads(path.read_text(encoding="utf-8"))["result"]

    @contextmanager
    def claim(self, key: Mapping[str, Any], work: Path) -> Iterator[Path]:
        """Give an empty folder to compute a cell in; another command that wants it waits.

        So two commands may share a benchmark's folder: each cell has a place of its own, and who
        waited should look whether the cell is finished now.
        """
        place = work / digest_of(key)
        make_folder(self.folder)
        with locked(self.folder / f"{place.name}.lock"):
            shutil.rmtree(place, ignore_errors=True)
            make_folder(place)
            try:
                yield place.resolve()
            finally:
                shutil.rmtree(place, ignore_errors=True)
        with suppress(OSError):  # others still work there
            work.rmdir()

    def put(self, key: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        """Remember a result, beside what it follows from."""
        make_folder(self.folder)
        self.computed += 1
        write_json(self.folder / f"{digest_of(key)}.json", {"key": key, "result": result})


def digest_of(value: Any) -> str:
    """Return a hash of plain values; the order of keys does not count."""
    text = json.dumps(value, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def identity(registry: Registry, spec: ComponentSpec) -> dict[str, Any]:
    """Return what the results of a component follow from: arguments, files they name, code."""
    return {
        "component": spec.to_dict(),
        "files": _files(spec),
        "code": _code(registry.get(spec.kind, spec.name).cls),
    }


@cache
def versions() -> dict[str, str]:
    """Return the versions that results may depend on."""
    found = {"python": ".".join(map(str, sys.version_info[:2]))}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@cache
def _code(cls: type) -> str:
    """Return a hash of the module that a component is written in: it may change without a release.

    What that module imports does not count.
    """
    path = inspect.getsourcefile(cls)
    return file_hash(Path(path))[:24] if path else ""


def _files(value: Any) -> dict[str, str]:
    """Return path -> hash of the image files in every folder, and every file, that is named.

    By an argument: names of components are none, though a folder may be called so.
    """
    found: dict[str, str] = {}
    if isinstance(value, ComponentSpec):
        found = _files(dict(value.arguments))
    elif isinstance(value, dict):
        for item in value.values():
            found |= _files(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            found |= _files(item)
    elif isinstance(value, (str, Path)) and len(str(value)) < 4096:
        path = Path(value)
        if path.is_file():
            found[path.name] = file_hash(path)
        elif str(value) and path.is_dir():
            images = (p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
            found |= {f"{path.name}/{p.name}": file_hash(p) for p in sorted(images)}
    return found
