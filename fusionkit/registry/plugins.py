"""Finds plugins by entry point, loads each on its own, and reports the broken ones."""

from __future__ import annotations

import functools
import importlib.metadata
import inspect
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pluggy

from fusionkit import hookspecs
from fusionkit.errors import FusionkitError, nearest
from fusionkit.interfaces import Component, OfficialWeights
from fusionkit.registry.arguments import arguments_model
from fusionkit.registry.components import Registry
from fusionkit.registry.model_cards import Model, read_model

__all__ = [
    "GROUP",
    "SLOW",
    "LoadedPlugin",
    "Plugins",
    "load_installed_plugins",
    "load_plugins",
]

GROUP = "fusionkit"
"""The entry-point group that a plugin package declares itself in."""

SLOW = 5.0
"""Seconds of import from which on a plugin is called slow: all commands wait for it."""


@dataclass(frozen=True)
class LoadedPlugin:
    """A plugin that was found.

    Attributes:
        name: Of its entry point.
        distribution: The package that brought it.
        version: Of the package.
        error: Says in one line why it was skipped, if it was.
        seconds: That loading it took.
    """

    name: str
    distribution: str
    version: str
    error: str | None = None
    seconds: float = 0.0

    @property
    def complaint(self) -> str | None:
        """What its users should know, in one line: why it was skipped, or that it is slow."""
        if self.error:
            return f"BROKEN, skipped: {self.error}"
        if self.seconds >= SLOW:
            return (
                f"slow: took {self.seconds:.1f} s to import; "
                f"its author should import heavy packages where they are used"
            )
        return None


@dataclass
class Plugins:
    """Everything that the installed plugins bring.

    Attributes:
        registry: Their components.
        recipes: File name -> recipe file.
        models: Name -> trained model.
        official_weights: Name -> published network that can be converted.
        found: Every plugin found, the broken ones too.
        hooks: Calls ``fusionkit_log`` of all of them.
    """

    registry: Registry
    recipes: dict[str, Path]
    models: dict[str, Model]
    official_weights: dict[str, OfficialWeights]
    found: list[LoadedPlugin]
    manager: pluggy.PluginManager = field(repr=False)

    @property
    def broken(self) -> list[LoadedPlugin]:
        """The plugins that were skipped."""
        return [plugin for plugin in self.found if plugin.error]

    def recipe(self, name: str) -> Path:
        """Return a recipe by file name.

        Raises:
            FusionkitError: if no plugin ships it; says which there are.
        """
        if name not in self.recipes:
            there = ", ".join(sorted(self.recipes)) or "none: no plugin with recipes is installed"
            raise FusionkitError(
                f"{name} is neither a file nor a recipe of an installed plugin "
                f"(recipes: {there})" + nearest(name, self.recipes)
            )
        return self.recipes[name]


@functools.cache
def load_installed_plugins() -> Plugins:
    """Return what the installed plugins bring, loaded once per process."""
    return load_plugins()


def load_plugins(
    entry_points: Iterable[importlib.metadata.EntryPoint] | None = None,
) -> Plugins:
    """Load all installed plugins; one that fails is reported in ``found`` and hurts nobody else.

    Args:
        entry_points: Instead of the installed ones, for tests.
    """
    if entry_points is None:
        entry_points = importlib.metadata.entry_points(group=GROUP)
    manager = pluggy.PluginManager("fusionkit")
    manager.add_hookspecs(hookspecs)
    plugins = Plugins(Registry(), {}, {}, {}, [], manager)
    for entry_point in sorted(entry_points, key=lambda e: e.name):
        error, started = None, time.perf_counter()
        try:
            _load(entry_point, plugins)
        # A plugin is foreign code: whatever it raises is its own and must not take us down.
        except Exception as problem:
            error = _one_line(problem)
            if manager.has_plugin(entry_point.name):
                manager.unregister(name=entry_point.name)
        distribution = entry_point.dist
        plugins.found.append(
            LoadedPlugin(
                entry_point.name,
                distribution.name if distribution else "?",
                distribution.version if distribution else "?",
                error,
                time.perf_counter() - started,
            )
        )
    return plugins


def _load(entry_point: importlib.metadata.EntryPoint, plugins: Plugins) -> None:
    """Register one plugin, wholly or not at all."""
    module = entry_point.load()
    manager, name = plugins.manager, entry_point.name
    # Before its hooks are looked at: another version may have other ones.
    _check_api(getattr(module, "FUSIONKIT_API", hookspecs.API_VERSION))
    known = {key for key, _ in inspect.getmembers(hookspecs, inspect.isfunction)}
    for key, member in inspect.getmembers(module, inspect.isfunction):
        if manager.parse_hookimpl_opts(module, key) is not None and key not in known:
            raise FusionkitError(
                f"{member.__module__}.{key} implements no hook of fusionkit"
                + (nearest(key, known) or f" (hooks: {', '.join(sorted(known))})")
            )
    manager.register(module, name=name)
    # Checks the arguments of the hook functions; the names were checked above with a suggestion.
    manager.check_pending()
    others = [other for key, other in manager.list_name_plugin() if key != name]

    def call(hook: str) -> list[Any]:
        return [item for items in manager.subset_hook_caller(hook, others)() for item in items]

    components: list[type[Component]] = call("fusionkit_components")
    trial = Registry()
    for cls in components:
        trial.add(cls, name)
        arguments_model(cls)
        if cls.name in plugins.registry.names(cls.kind):
            plugins.registry.add(cls, name)  # raises: names both plugins
    recipes: dict[str, Path] = {path.name: path for path in call("fusionkit_recipes")}
    for file_name, path in recipes.items():
        if not path.is_file():
            raise FusionkitError(f"{name} announces the recipe {path}, which is no file")
        if file_name in plugins.recipes:
            raise FusionkitError(
                f"two plugins ship a recipe {file_name}: {plugins.recipes[file_name]} and {path}"
            )
    models: dict[str, Model] = {}
    for path in call("fusionkit_models"):
        model = read_model(path)
        taken = plugins.models.get(model.card.name) or models.get(model.card.name)
        if taken is not None:
            raise FusionkitError(
                f"two models are called {model.card.name}: {taken.path} and {model.path}"
            )
        models[model.card.name] = model
    official: dict[str, OfficialWeights] = {}
    for weights in call("fusionkit_official_weights"):
        taken = plugins.official_weights.get(weights.name) or official.get(weights.name)
        if taken is not None:
            raise FusionkitError(
                f"two sets of official weights are called {weights.name!r}: of the "
                f"{taken.kind} {taken.component!r} and of the {weights.kind} {weights.component!r}"
            )
        official[weights.name] = weights
    for cls in components:
        plugins.registry.add(cls, name)
    plugins.recipes.update(recipes)
    plugins.models.update(models)
    plugins.official_weights.update(official)


def _check_api(target: object) -> None:
    """Raise FusionkitError if a plugin was written for a version of the API that is not served."""
    oldest, current = hookspecs.OLDEST_API, hookspecs.API_VERSION
    if not isinstance(target, int):
        raise FusionkitError(f"FUSIONKIT_API: expected a whole number, found {target!r}")
    if target > current:
        raise FusionkitError(
            f"it targets version {target} of the plugin API, this fusionkit has {current}; "
            f"upgrade fusionkit-mmif"
        )
    if target < oldest:
        raise FusionkitError(
            f"it targets version {target} of the plugin API, this fusionkit serves {oldest} to "
            f"{current}; upgrade the plugin, or install an older fusionkit-mmif"
        )


def _one_line(problem: Exception) -> str:
    text = " ".join(str(problem).split())
    return text if isinstance(problem, FusionkitError) else f"{type(problem).__name__}: {text}"
