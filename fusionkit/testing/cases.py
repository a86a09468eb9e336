"""Which checks apply to what: a case is one check of one component."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fusionkit.errors import FusionkitError, nearest
from fusionkit.registry.plugins import Plugins
from fusionkit.testing import common, measures, networks, objectives, sources, transforms
from fusionkit.testing.subject import NotApplicable, Subject

__all__ = ["CHECKS", "Case", "Outcome", "cases_of", "check_plugin"]

Arguments = Mapping[tuple[str, str], Mapping[str, Any]]
"""(kind, name) -> arguments to build a component by."""

CHECKS: Mapping[str, tuple[Callable[[Subject], None], ...]] = {
    kind: (*common.CHECKS, *own)
    for kind, own in {
        "backbone": networks.CHECKS,
        "sensor": networks.CHECKS,
        "transform": transforms.CHECKS,
        "loss": objectives.LOSS_CHECKS,
        "distance": objectives.DISTANCE_CHECKS,
        "metric": measures.METRIC_CHECKS,
        "dataset": sources.DATASET_CHECKS,
        "stage": sources.STAGE_CHECKS,
        "task": measures.TASK_CHECKS,
    }.items()
}
"""The checks of each kind, in the order in which they are made."""


@dataclass(frozen=True)
class Outcome:
    """How a check ended: ``passed``, ``failed`` or ``skipped``, and a sentence for the last two."""

    state: Literal["passed", "failed", "skipped"]
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
        """What the check asks for, in a sentence."""
        return (inspect.getdoc(self.check) or "").partition("\n")[0]

    def __str__(self) -> str:
        return f"{self.subject.cls.kind}-{self.subject.cls.name}-{self.check.__name__}"

    def run(self) -> None:
        """Make the check.

        Raises:
            AssertionError: if the component breaks the promise; says how.
            NotApplicable: if there is nothing to check; says why.
        """
        self.check(self.subject)

    def outcome(self) -> Outcome:
        """Make the check, and report whatever the component does."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.run()
        except NotApplicable as reason:
            return Outcome("skipped", str(reason))
        except AssertionError as problem:
            return Outcome("failed", str(problem))
        # It is foreign code: whatever it raises is what its author must see.
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
        arguments: To build components by, instead of their ``example``.

    Raises:
        FusionkitError: if there is no such plugin, or it is broken, or brings nothing.
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
    """Make all checks of a plugin, one after the other."""
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
    if broken := [p for p in found if p.error]:
        raise FusionkitError(f"{broken[0].name} can't be loaded: {broken[0].error}")
    return {p.name for p in found}
