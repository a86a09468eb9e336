"""Which checks each kind has; a case is one check of one component."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fusionkit.errors import FusionkitError, nearest
from fusionkit.registry.arguments import arguments_model
from fusionkit.registry.plugins import Plugins
from fusionkit.testing import (
    common,
    metrics,
    networks,
    objectives,
    sources,
    stages,
    tasks,
    transforms,
)
from fusionkit.testing.subject import BUILD, NotApplicable, Refused, Subject, expect

__all__ = ["CHECKS", "Case", "Outcome", "cases_of", "check_plugin"]

Arguments = Mapping[tuple[str, str], Mapping[str, Any]]
"""(kind, name) -> arguments to build a component with."""


def declarations(subject: Subject) -> None:
    """``refuses`` names checks of its kind with a reason, and ``example`` names its arguments."""
    cls = subject.cls
    known = [BUILD, *(check.__name__ for check in CHECKS[cls.kind])]
    for name, reason in cls.refuses.items():
        expect(
            name in known,
            f"refuses names {name!r}, which is not a check of a {cls.kind} "
            f"(checks: {', '.join(known)})" + nearest(name, known),
        )
        expect(bool(reason.strip()), f"refuses[{name!r}] gives no reason")
    arguments = arguments_model(cls).model_fields
    for key in cls.example:
        expect(
            key in arguments,
            f"example gives {key!r}, which is not an argument "
            f"(arguments: {', '.join(arguments) or 'none'})",
        )


CHECKS: Mapping[str, tuple[Callable[[Subject], None], ...]] = {
    kind: (common.docstring, declarations, *common.CHECKS, *own)
    for kind, own in {
        "backbone": networks.CHECKS,
        "sensor": networks.CHECKS,
        "transform": transforms.CHECKS,
        "loss": objectives.LOSS_CHECKS,
        "distance": objectives.DISTANCE_CHECKS,
        "metric": metrics.CHECKS,
        "dataset": sources.CHECKS,
        "stage": stages.CHECKS,
        "task": tasks.CHECKS,
    }.items()
}
"""The checks of each kind, in the order in which they run."""


@dataclass(frozen=True)
class Outcome:
    """The result of a check.

    Attributes:
        state: ``passed``; ``failed``; ``refused`` if the component refused and declares so;
            ``skipped`` if there was nothing to check.
        sentence: What is wrong, or why the check was refused or skipped; empty if it passed.
    """

    state: Literal["passed", "failed", "refused", "skipped"]
    sentence: str = ""


@dataclass(frozen=True)
class Case:
    """One check of one component."""

    subject: Subject
    check: Callable[[Subject], None]

    @property
    def component(self) -> str:
        """Kind and name."""
        return f"{self.subject.cls.kind} {self.subject.cls.name}"

    @property
    def promise(self) -> str:
        """What the check asks for: the first line of its docstring."""
        return (inspect.getdoc(self.check) or "").partition("\n")[0]

    def __str__(self) -> str:
        return f"{self.subject.cls.kind}-{self.subject.cls.name}-{self.check.__name__}"

    def run(self) -> None:
        """Run the check.

        Raises:
            AssertionError: if the component breaks the promise, or refuses without declaring it.
            Refused: if the component refuses and declares so.
            NotApplicable: if there is nothing to check.
        """
        try:
            self.check(self.subject)
        except FusionkitError as error:
            raise self.subject.refusal(self.check.__name__, str(error)) from None

    def outcome(self) -> Outcome:
        """Run the check, and report whatever the component does."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.run()
        except NotApplicable as reason:
            return Outcome("skipped", str(reason))
        except Refused as reason:
            return Outcome("refused", str(reason))
        except AssertionError as problem:
            return Outcome("failed", str(problem))
        # A component is foreign code: its author must see whatever it raises.
        except Exception as problem:
            return Outcome("failed", f"{type(problem).__name__}: {problem}")
        return Outcome("passed")


def cases_of(
    plugins: Plugins, plugin: str | None = None, arguments: Arguments | None = None
) -> list[Case]:
    """Return all checks of what a plugin brings, or of everything installed.

    Args:
        plugins: What is installed.
        plugin: Name of an entry point or of a distribution; None for all.
        arguments: (kind, name) -> arguments to build a component with, instead of its
            ``example``.

    Raises:
        FusionkitError: if no such plugin is installed, or it could not be loaded, or it brings no
            component.

    Example:
        >>> from fusionkit.registry.plugins import load_installed_plugins
        >>> case = cases_of(load_installed_plugins(), "fusionkit-classic")[0]
        >>> case.component, case.outcome().state
        ('backbone average', 'passed')
    """
    names = None if plugin is None else _named(plugins, plugin)
    cases = [
        Case(Subject(plugins.registry, entry.cls, _given(arguments, entry.cls)), check)
        for entry in plugins.registry
        if names is None or entry.plugin in names
        for check in CHECKS[entry.cls.kind]
    ]
    if not cases:
        raise FusionkitError(f"{plugin or 'what is installed'} brings no component to check")
    return cases


def check_plugin(plugins: Plugins, plugin: str) -> Iterable[tuple[Case, Outcome]]:
    """Run all checks of a plugin, one after the other.

    Example:
        >>> from fusionkit.registry.plugins import load_installed_plugins
        >>> outcomes = check_plugin(load_installed_plugins(), "fusionkit-classic")
        >>> case, outcome = next(iter(outcomes))
        >>> case.component, outcome.state
        ('backbone average', 'passed')
    """
    for case in cases_of(plugins, plugin):
        yield case, case.outcome()


def _given(arguments: Arguments | None, cls: Any) -> Mapping[str, Any]:
    example: Mapping[str, Any] = cls.example
    return (arguments or {}).get((cls.kind, cls.name), example)


def _named(plugins: Plugins, plugin: str) -> set[str]:
    wanted = plugin.replace("_", "-").lower()
    found = [
        p
        for p in plugins.found
        if wanted in (p.name.replace("_", "-").lower(), p.distribution.replace("_", "-").lower())
    ]
    if not found:
        known = [*(p.name for p in plugins.found), *(p.distribution for p in plugins.found)]
        raise FusionkitError(
            f"no plugin or package {plugin!r} is installed "
            f"(plugins: {', '.join(p.name for p in plugins.found)})" + nearest(plugin, known)
        )
    for p in found:
        if p.error:
            raise FusionkitError(f"{p.name} can't be loaded: {p.error}")
        if p.disabled:
            raise FusionkitError(f"{p.name} is {p.complaint}")
    return {p.name for p in found}
