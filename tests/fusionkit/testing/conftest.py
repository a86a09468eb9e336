"""What a component fails in the kit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fusionkit.registry.components import Registry
from fusionkit.testing import Case, Outcome, Subject
from fusionkit.testing.cases import CHECKS


@pytest.fixture
def outcomes() -> Callable[..., dict[str, Outcome]]:
    """Return a function that makes all checks of a class."""

    def find(cls: type, **arguments: Any) -> dict[str, Outcome]:
        registry = Registry()
        registry.add(cls, "test")  # type: ignore[arg-type]
        subject = Subject(registry, cls, arguments or cls.example)  # type: ignore[arg-type, attr-defined]
        return {c.__name__: Case(subject, c).outcome() for c in CHECKS[cls.kind]}  # type: ignore[attr-defined]

    return find


@pytest.fixture
def failures(outcomes) -> Callable[..., dict[str, str]]:
    """Return a function that gives the sentence of each check that a class fails."""

    def find(cls: type, **arguments: Any) -> dict[str, str]:
        made = outcomes(cls, **arguments)
        return {name: o.sentence for name, o in made.items() if o.state == "failed"}

    return find
