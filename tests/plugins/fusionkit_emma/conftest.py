"""Outputs of the official code, and the formulas of its weights and inputs."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

HERE = Path(__file__).parent


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def formula() -> ModuleType:
    return _load(HERE / "formula.py")


@pytest.fixture(scope="session")
def official() -> dict[str, np.ndarray]:
    with np.load(HERE / "fixtures" / "emma_parity.npz") as arrays:
        return {key: arrays[key] for key in arrays}


@pytest.fixture(scope="session")
def official_names() -> dict[str, Any]:
    return json.loads((HERE / "fixtures" / "emma_parity.json").read_text(encoding="utf-8"))
