"""What a component fails in the kit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fusionkit.registry.components import Registry
from fusionkit.testing import Case, Subject
from fusionkit.testing.cases import CHECKS


@pytest.fixture
def failures() -> Callable[..., dict[str, str]]:
    """Return a function that gives the sentence of each check that a class fails."""

    def find(cls: type, **arguments: Any) -> dict[str, str]:
        registry = Registry()
        registry.add(cls, "test")  # type: ignore[arg-type]
        subject = Subject(registry, cls, arguments)  # type: ignore[arg-type]
        outcomes = {c.__name__: Case(subject, c).outcome() for c in CHECKS[cls.kind]}  # type: ignore[attr-defined]
        return {name: o.sentence for name, o in outcomes.items() if o.state == "failed"}

    return find
