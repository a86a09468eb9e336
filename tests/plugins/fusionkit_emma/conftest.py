"""What the official code put out, and the formulas that its weights and inputs came from."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def formula() -> ModuleType:
    return _load(Path(__file__).parent / "formula.py")


@pytest.fixture(scope="session")
def official(parity_root: Path) -> dict[str, np.ndarray]:
    with np.load(parity_root / "emma_parity.npz") as arrays:
        return {key: arrays[key] for key in arrays}


@pytest.fixture(scope="session")
def official_names(parity_root: Path) -> dict[str, Any]:
    return json.loads((parity_root / "emma_parity.json").read_text())
