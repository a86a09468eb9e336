"""Finds plugins, loads each on its own, and reports those that can't be loaded."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
import inspect
import logging
import os
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy

from fusionkit import hookspecs
from fusionkit.errors import FusionkitError, nearest
from fusionkit.interfaces import Component, OfficialWeights
from fusionkit.registry.arguments import arguments_model
from fusionkit.registry.components import Registry
from fusionkit.registry.data_cards import PublishedData, read_data_card
from fusionkit.registry.model_cards import Model, read_model
from fusionkit.registry.plugin_files import DISABLE, FILES, GROUP, is_named, listed, plugin_files

__all__ = [
    "GROUP",
    "SLOW",
    "LoadedPlugin",
    "Plugins",
    "load_installed_plugins",
    "load_plugins",
]

SLOW = 5.0
"""Import time in seconds from which a plugin is called slow: every command waits for it."""

logger = logging.getLogger("fusionkit")


@dataclass(frozen=True)
class LoadedPlugin:
    """A plugin that was found.

    Attributes:
        name: Name of its entry point, or the name of its file (``mine.py``).
        distribution: The package that installed it, or the path of its file.
        version: Version of the package; ``local file`` for a file.
        error: Why it could not be loaded, in one line; None if it was loaded.
        seconds: Import time in seconds.
        disabled: Whether the user disabled it.
    """

    name: str
    distribution: str
    version: str
    error: str | None = None
    seconds: float = 0.0
    disabled: bool = False

    @property
    def complaint(self) -> str | None:
        """What a user should know about it, in one line; None if there is nothing to say."""
        if self.disabled:
            return f"disabled by {DISABLE}"
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
    """Everything that the loaded plugins bring.

    Attributes:
        registry: Their components.
        recipes: File name -> recipe file.
        models: Name -> trained model.
        data: Name -> published data set.
        official_weights: Name -> published network that can be converted.
        found: Every plugin found, including broken and disabled ones.
        manager: Calls ``fusionkit_log`` of all loaded plugins.
    """

    registry: Registry
    recipes: dict[str, Path]
    models: dict[str, Model]
    data: dict[str, PublishedData]
    official_weights: dict[str, OfficialWeights]
    found: list[LoadedPlugin]
    manager: pluggy.PluginManager = field(repr=False)

    @property
    def broken(self) -> list[LoadedPlugin]:
        """The plugins that could not be loaded."""
        return [plugin for plugin in self.found if plugin.error]

    def recipe(self, name: str) -> Path:
        """Return a recipe by file name.

        Raises:
            FusionkitError: if no plugin ships it; lists the recipes that exist.
        """
        if name not in self.recipes:
            there = ", ".join(sorted(self.recipes)) or "none: no plugin with recipes is installed"
            raise FusionkitError(
                f"{name} is neither a file nor a recipe of an installed plugin "
                f"(recipes: {there})" + nearest(name, self.recipes) + self.registry.hint
            )
        return self.recipes[name]


def load_installed_plugins() -> Plugins:
    """Return what the installed plugins and the plugin files of the user bring.

    They are loaded once per process, and again when the user disables a plugin or adds a file.

    Raises:
        FusionkitError: if a plugin file (``--plugin``) can't be loaded. A broken installed plugin
            is reported in ``found``.

    Example:
        >>> load_installed_plugins().registry.get("backbone", "average").plugin
        'fusionkit-classic'
    """
    return _loaded_once(os.environ.get(DISABLE, ""), os.environ.get(FILES, ""))


@functools.cache
def _loaded_once(disabled: str, files: str) -> Plugins:
    plugins = load_plugins(disabled=listed(disabled), files=plugin_files(files))
    for plugin in plugins.found:
        if plugin.error and plugin.version == _FILE:
            raise FusionkitError(f"{plugin.distribution} can't be loaded: {plugin.error}")
    return plugins


_FILE = "local file"


def load_plugins(
    entry_points: Iterable[importlib.metadata.EntryPoint] | None = None,
    *,
    disabled: Iterable[str] = (),
    files: Iterable[Path] = (),
) -> Plugins:
    """Load plugins. One that fails is reported in ``found`` and does not affect the others.

    Args:
        entry_points: The plugins; those of the installed packages by default.
        disabled: Names of plugins or packages to leave out.
        files: Python files to load as plugins, after the others.

    Example:
        >>> load_plugins(disabled=["fusionkit-models"]).models
        {}
    """
    if entry_points is None:
        entry_points = importlib.metadata.entry_points(group=GROUP)
    manager = pluggy.PluginManager("fusionkit")
    manager.add_hookspecs(hookspecs)
    plugins = Plugins(Registry(), {}, {}, {}, {}, [], manager)
    disabled, matched = list(disabled), set[str]()
    for entry_point in sorted(entry_points, key=lambda e: e.name):
        package = entry_point.dist
        about = (
            entry_point.name,
            package.name if package else "?",
            package.version if package else "?",
        )
        names = {name for name in disabled if is_named(name, *about[:2])}
        matched |= names
        if names:
            plugins.found.append(LoadedPlugin(*about, disabled=True))
        else:
            plugins.found.append(_load(about, entry_point.load, plugins))
    for unknown in sorted(set(disabled) - matched):
        logger.warning("%s names %r, which is not an installed plugin", DISABLE, unknown)
    for path in files:
        about = (path.name, str(path), _FILE)
        plugins.found.append(_load(about, functools.partial(_import_file, path), plugins))
    plugins.registry.not_loaded = [
        f"the plugin {plugin.name} is disabled ({DISABLE})"
        if plugin.disabled
        else f"the plugin {plugin.name} could not be loaded: {plugin.error}"
        for plugin in plugins.found
        if plugin.disabled or plugin.error
    ]
    return plugins


def _load(about: tuple[str, str, str], load: Any, plugins: Plugins) -> LoadedPlugin:
    """Load one plugin, and report whatever it raises."""
    error, started = None, time.perf_counter()
    try:
        _register(about[0], load(), plugins)
    # A plugin is foreign code: whatever it raises must not stop the others.
    except Exception as problem:
        error = _one_line(problem)
        if plugins.manager.has_plugin(about[0]):
            plugins.manager.unregister(name=about[0])
    return LoadedPlugin(*about, error, time.perf_counter() - started)


def _import_file(path: Path) -> ModuleType:
    """Import a Python file under its own name, so that workers can unpickle its classes."""
    path = path.resolve()
    if not path.is_file():
        raise FusionkitError("there is no such file")
    if path.suffix != ".py" or not path.stem.isidentifier():
        raise FusionkitError("expected a Python file whose name can be imported, such as mine.py")
    folder = str(path.parent)
    if folder not in sys.path:
        sys.path.append(folder)
        importlib.invalidate_caches()
    module = sys.modules.get(path.stem)
    found = module.__spec__ if module else importlib.util.find_spec(path.stem)
    if found is None or found.origin is None or Path(found.origin).resolve() != path:
        where = f" ({found.origin})" if found else ""
        raise FusionkitError(
            f"another module is called {path.stem!r} already{where}; rename the file"
        )
    return importlib.import_module(path.stem)


def _register(name: str, module: ModuleType, plugins: Plugins) -> None:
    """Register everything that a plugin brings, or nothing if anything is wrong."""
    manager = plugins.manager
    # Check the version before the hooks: other versions may have other hooks.
    _check_api(getattr(module, "FUSIONKIT_API", hookspecs.API_VERSION))
    _check_hook_names(module, manager)
    manager.register(module, name=name)
    # Checks the arguments of the hook functions; the names were checked above with a suggestion.
    manager.check_pending()
    others = [other for key, other in manager.list_name_plugin() if key != name]

    def call(hook: str) -> list[Any]:
        return [item for items in manager.subset_hook_caller(hook, others)() for item in items]

    components: list[type[Component]] = list(call("fusionkit_components"))
    if name.endswith(".py"):
        components += [cls for cls in _components_in(module) if cls not in components]
    trial = Registry()
    for cls in components:
        trial.add(cls, name)
        arguments_model(cls)
        if cls.name in plugins.registry.names(cls.kind):
            plugins.registry.add(cls, name)  # raises: names both plugins
    recipes: dict[str, Path] = {path.name: path for path in call("fusionkit_recipes")}
    for file_name, path in recipes.items():
        if not path.is_file():
            raise FusionkitError(f"{name} announces the recipe {path}, which does not exist")
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
    data: dict[str, PublishedData] = {}
    for path in call("fusionkit_data"):
        published = read_data_card(path)
        card = published.card
        known = plugins.data.get(card.name) or data.get(card.name)
        if known is not None:
            raise FusionkitError(
                f"two data sets are called {card.name}: {known.card_path} and {path}"
            )
        data[card.name] = published
    official: dict[str, OfficialWeights] = {}
    for weights in call("fusionkit_official_weights"):
        taken = plugins.official_weights.get(weights.name) or official.get(weights.name)
        if taken is not None:
            raise FusionkitError(
                f"two sets of official weights are called {weights.name!r}: of the "
                f"{taken.kind} {taken.component!r} and of the {weights.kind} {weights.component!r}"
            )
        official[weights.name] = weights
    if name.endswith(".py") and not (components or recipes or models or data or official):
        raise FusionkitError(
            "it defines no component (a subclass of Backbone, Loss, ... with a class attribute "
            "`name`) and no hook"
        )
    for cls in components:
        plugins.registry.add(cls, name)
    plugins.recipes.update(recipes)
    plugins.models.update(models)
    plugins.data.update(data)
    plugins.official_weights.update(official)


def _components_in(module: ModuleType) -> list[type[Component]]:
    """Return the component classes that a file defines, in the order of their names.

    Abstract classes without a ``name`` and classes whose Python name begins with an underscore are
    base classes.
    """
    return [
        cls
        for key, cls in inspect.getmembers(module, inspect.isclass)
        if issubclass(cls, Component)
        and cls.__module__ == module.__name__
        and not key.startswith("_")
        and ("name" in cls.__dict__ or not inspect.isabstract(cls))
    ]


def _check_hook_names(module: ModuleType, manager: pluggy.PluginManager) -> None:
    """Raise FusionkitError for a hook implementation whose name is not a hook."""
    known = {
        key
        for key, _ in inspect.getmembers(hookspecs, inspect.isfunction)
        if key.startswith("fusionkit_")
    }
    for key, member in inspect.getmembers(module, inspect.isfunction):
        if manager.parse_hookimpl_opts(module, key) is not None and key not in known:
            raise FusionkitError(
                f"{member.__module__}.{key} implements no hook of fusionkit"
                + (nearest(key, known) or f" (hooks: {', '.join(sorted(known))})")
            )


def _check_api(target: object) -> None:
    """Raise FusionkitError if a plugin targets a version of the plugin API that is not served."""
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
