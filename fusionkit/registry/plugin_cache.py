"""A cached listing of the installed plugins, so that listing imports neither them nor torch.

The cache is valid until a package is installed or removed, a file of a plugin or of the core
changes, or the user disables a plugin or adds a plugin file. Then the plugins are loaded again,
which takes as long as importing torch.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fusionkit.errors import FusionkitError
from fusionkit.registry.plugin_files import DISABLE, FILES, GROUP, plugin_files

if TYPE_CHECKING:
    from fusionkit.registry.plugins import Plugins

__all__ = ["Listing", "PluginLine", "installed_listing", "listing_of"]


@dataclass(frozen=True)
class PluginLine:
    """A plugin as ``fusionkit plugins list`` shows it.

    Attributes:
        name: Name of the plugin.
        distribution: The package that installed it, or the path of its file.
        version: Version of the package.
        components: Number of components that it brings.
        complaint: What a user should know about it, in one line; None if there is nothing to say.
    """

    name: str
    distribution: str
    version: str
    components: int
    complaint: str | None


@dataclass(frozen=True)
class Listing:
    """What the plugins bring, without importing them.

    Attributes:
        plugins: Every plugin found, including broken and disabled ones.
        components: Kind -> pairs of component name and plugin name.
        recipes: File names of the recipes.
        models: Name of a trained model -> path of its card.
        data: Name of a published data set -> path of its card.
    """

    plugins: tuple[PluginLine, ...]
    components: dict[str, list[tuple[str, str]]]
    recipes: tuple[str, ...]
    models: dict[str, str]
    data: dict[str, str]


def listing_of(plugins: Plugins) -> Listing:
    """Return the listing of loaded plugins.

    Example:
        >>> from fusionkit.registry.plugins import load_installed_plugins
        >>> listing = listing_of(load_installed_plugins())
        >>> ("average", "fusionkit-classic") in listing.components["backbone"]
        True
    """
    counts: dict[str, int] = {}
    components: dict[str, list[tuple[str, str]]] = {}
    for entry in plugins.registry:
        counts[entry.plugin] = counts.get(entry.plugin, 0) + 1
        components.setdefault(entry.cls.kind, []).append((entry.cls.name, entry.plugin))
    lines = tuple(
        PluginLine(p.name, p.distribution, p.version, counts.get(p.name, 0), p.complaint)
        for p in plugins.found
    )
    models = {name: str(model.card_path) for name, model in sorted(plugins.models.items())}
    data = {name: str(published.card_path) for name, published in sorted(plugins.data.items())}
    return Listing(lines, components, tuple(sorted(plugins.recipes)), models, data)


def installed_listing() -> Listing:
    """Return the listing of the installed plugins, from the cache if it is valid.

    Example:
        >>> "emma.yaml" in installed_listing().recipes
        True
    """
    fingerprint = _fingerprint()
    path = _cache_folder() / "plugins.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))[fingerprint]
        return Listing(
            tuple(PluginLine(**line) for line in found["plugins"]),
            {k: [(n, p) for n, p in pairs] for k, pairs in found["components"].items()},
            tuple(found["recipes"]),
            dict(found["models"]),
            dict(found["data"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no cache, an outdated one, or an unreadable file
    from fusionkit.io.atomic_write import make_folder, write_json
    from fusionkit.registry.plugins import load_installed_plugins

    listing = listing_of(load_installed_plugins())
    try:
        make_folder(path.parent)
        write_json(path, {fingerprint: asdict(listing)})
    except FusionkitError:
        pass  # without a cache, listing only takes longer
    return listing


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    # One cache for each environment, so that two environments don't overwrite each other's.
    environment = hashlib.sha256(sys.prefix.encode()).hexdigest()[:12]
    return (Path(base) if base else Path.home() / ".cache") / "fusionkit" / environment


def _fingerprint() -> str:
    """Return a hash of the installation: entry points, versions, and times of all files."""
    files = os.environ.get(FILES, "")
    parts: list[object] = [sys.version, os.environ.get(DISABLE), files]
    for file in plugin_files(files):
        if file.is_file():
            parts.append((file.stat().st_mtime_ns, file.stat().st_size))
    for folder in sys.path:
        try:
            parts.append((folder, Path(folder or ".").stat().st_mtime_ns))
        except OSError:
            continue
    packages = {"fusionkit"}
    for entry_point in importlib.metadata.entry_points(group=GROUP):
        distribution = entry_point.dist
        parts.append((entry_point.name, entry_point.value, distribution and distribution.version))
        packages.add(entry_point.value.partition(":")[0].partition(".")[0])
    for package in sorted(packages):
        parts += _state_of(package)
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _state_of(package: str) -> Iterator[tuple[str, int, int]]:
    """Yield path, time and size of all modules of a package, without importing it."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return
    if spec is None:
        return
    if spec.submodule_search_locations is None:
        files = [Path(spec.origin)] if spec.origin else []
    else:
        files = [f for place in spec.submodule_search_locations for f in Path(place).rglob("*")]
    for file in sorted(files):
        if file.suffix in (".py", ".yaml"):
            state = file.stat()
            yield str(file), state.st_mtime_ns, state.st_size
