"""Plugins made up by tests."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fusionkit.plugins import GROUP

MakePlugin = Callable[[str, str], importlib.metadata.EntryPoint]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep listings that tests make out of the user's cache, and the user's out of the tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def make_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakePlugin]:
    """Return a function that writes a module and gives the entry point of it."""
    monkeypatch.syspath_prepend(str(tmp_path))
    made: list[str] = []

    def make(name: str, code: str) -> importlib.metadata.EntryPoint:
        (tmp_path / f"{name}.py").write_text(code)
        made.append(name)
        return importlib.metadata.EntryPoint(f"plugin-{name}", name, GROUP)

    yield make
    for name in made:
        sys.modules.pop(name, None)
