"""The registry: (kind, name) -> component class and its plugin. It builds components from specs."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fusionkit.errors import FusionkitError, nearest
from fusionkit.interfaces import KINDS, Component, ComponentSpec, Metric
from fusionkit.registry.signatures import from_run, parameters_of

__all__ = ["RESERVED", "Entry", "Registry", "check_component", "check_kind"]

RESERVED: Mapping[str, frozenset[str]] = {
    kind: frozenset({"name", *extra})
    for kind, extra in {
        **dict.fromkeys(KINDS, ()),
        "loss": ("weight",),
        "transform": ("count",),
        "dataset": ("manifest", "fit_on", "score_on"),
        "task": ("data", "seeds"),
    }.items()
}
"""Kind -> keys that stand beside the arguments of a component in a configuration."""


@dataclass(frozen=True)
class Entry:
    """A component class and the name of its plugin."""

    cls: type[Component]
    plugin: str

    @property
    def summary(self) -> str:
        """The first line of its docstring."""
        return (inspect.getdoc(self.cls) or "").partition("\n")[0]


class Registry:
    """The components of all loaded plugins.

    Attributes:
        not_loaded: A sentence for each plugin that is broken or disabled.

    Example:
        >>> from fusionkit.registry.plugins import load_installed_plugins
        >>> registry = load_installed_plugins().registry
        >>> registry.get("backbone", "average").plugin
        'fusionkit-classic'
        >>> registry.build(ComponentSpec("backbone", "average")).name
        'average'
    """

    def __init__(self) -> None:
        self._entries: dict[tuple[str, str], Entry] = {}
        self.not_loaded: list[str] = []

    def add(self, cls: type[Component], plugin: str) -> None:
        """Register a class.

        Raises:
            FusionkitError: if the class is not a component, or if its kind and name are taken;
                names both plugins.
        """
        kind = check_component(cls, plugin)
        key = (kind, cls.name)
        if key in self._entries:
            other = self._entries[key].plugin
            raise FusionkitError(
                f"two plugins bring the {kind} {cls.name!r}: {other} and {plugin}; "
                f"rename one or uninstall one"
            )
        self._entries[key] = Entry(cls, plugin)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries[key] for key in sorted(self._entries))

    def names(self, kind: str) -> list[str]:
        """Return the sorted names of a kind."""
        return sorted(name for k, name in self._entries if k == kind)

    def get(self, kind: str, name: str) -> Entry:
        """Return the entry.

        Raises:
            FusionkitError: if the kind or the name does not exist; lists those that do.
        """
        check_kind(kind)
        if (kind, name) not in self._entries:
            raise FusionkitError(self.unknown(kind, name) + self.hint)
        return self._entries[kind, name]

    @property
    def hint(self) -> str:
        """What to append to a message about something missing: the plugins that were not loaded."""
        return "".join(f"; {sentence}" for sentence in self.not_loaded)

    def unknown(self, kind: str, name: str) -> str:
        """Return a message for an unknown name, with the known names and the nearest one."""
        names = self.names(kind)
        if not names:
            return f"no installed plugin brings any {kind}, so there is no {name!r}"
        return f"no {kind} {name!r} is installed (there are: {', '.join(names)})" + nearest(
            name, names
        )

    def build(self, spec: ComponentSpec, modalities: tuple[str, ...] | None = None) -> Any:
        """Build a component and the components in its arguments.

        Args:
            spec: The validated spec.
            modalities: Fills arguments annotated ``Modalities`` that the spec leaves out.

        Raises:
            FusionkitError: if the component does not exist, or if it needs modalities and there are
                none.
        """
        cls = self.get(spec.kind, spec.name).cls
        arguments = {key: self._built(value, modalities) for key, value in spec.arguments.items()}
        if modalities is not None:
            for key in from_run(cls):
                arguments.setdefault(key, tuple(modalities))
        for key in from_run(cls):
            if key not in arguments and parameters_of(cls)[key].default is inspect.Parameter.empty:
                raise FusionkitError(
                    f"{spec.kind} {spec.name!r}: {key} comes from the run; outside of one give it: "
                    f"{key}=('infrared', 'visible')"
                )
        component = cls(**arguments)
        # The spec must rebuild the component elsewhere, so it includes what the run filled in.
        filled = {k: arguments[k] for k in from_run(cls) if k in arguments}
        component.spec = ComponentSpec(spec.kind, spec.name, {**spec.arguments, **filled})
        return component

    def _built(self, value: Any, modalities: tuple[str, ...] | None) -> Any:
        if isinstance(value, ComponentSpec):
            return self.build(value, modalities)
        if isinstance(value, Mapping):
            return {key: self._built(item, modalities) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(self._built(item, modalities) for item in value)
        return value


def check_kind(kind: str) -> None:
    """Raise FusionkitError for a kind that does not exist.

    Example:
        >>> check_kind("backbone")
    """
    if kind not in KINDS:
        raise FusionkitError(
            f"no kind of component is called {kind!r} (there are: {', '.join(KINDS)})"
            + nearest(kind, KINDS)
        )


def check_component(cls: type[Component], plugin: str) -> str:
    """Return the kind of a component class.

    Raises:
        FusionkitError: if the class is not a complete component; says what is wrong with it.

    Example:
        >>> from fusionkit.registry.plugins import load_installed_plugins
        >>> cls = load_installed_plugins().registry.get("backbone", "average").cls
        >>> check_component(cls, "fusionkit-classic")
        'backbone'
    """
    what = f"{plugin}: {getattr(cls, '__qualname__', cls)!s}"
    if not (isinstance(cls, type) and issubclass(cls, tuple(KINDS.values()))):
        raise FusionkitError(
            f"{what} is not a component: it must be a subclass of one of "
            f"{', '.join(kind.__name__ for kind in KINDS.values())}"
        )
    if not isinstance(cls.__dict__.get("name"), str):
        raise FusionkitError(f"{what} needs a class attribute `name = '...'` of its own")
    if inspect.isabstract(cls):
        missing = ", ".join(sorted(cls.__abstractmethods__))  # type: ignore[attr-defined]
        raise FusionkitError(f"{what} does not implement {missing}")
    if issubclass(cls, Metric):
        _check_metric(cls, what)
    for key, parameter in parameters_of(cls).items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise FusionkitError(
                f"{what}: its arguments are its configuration, so __init__ can't take "
                f"{parameter}; name them"
            )
        if key in RESERVED[cls.kind]:
            raise FusionkitError(
                f"{what}: the argument {key!r} clashes with a key of the configuration; rename it"
            )
    return cls.kind


def _check_metric(cls: type[Metric], what: str) -> None:
    """Raise FusionkitError if a metric lacks what tables and profiles need."""
    if not isinstance(getattr(cls, "higher_is_better", None), bool):
        raise FusionkitError(
            f"{what} needs a class attribute `higher_is_better`, True or False; "
            f"tables sort and mark by it"
        )
    profiles = getattr(cls, "profiles", None)
    if not (isinstance(profiles, tuple) and profiles) or not all(
        isinstance(profile, str) for profile in profiles
    ):
        raise FusionkitError(
            f"{what} needs a class attribute `profiles`, a tuple of the names of the conventions "
            f'that it follows, such as ("mine",); found {profiles!r}'
        )
    if not isinstance(getattr(cls, "profile", None), str) and "profile" not in parameters_of(cls):
        raise FusionkitError(
            f"{what} needs a class attribute `profile`, one of its profiles {profiles}, or an "
            f"argument of this name"
        )
