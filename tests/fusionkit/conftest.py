"""Plugins made up by tests."""

from __future__ import annotations

import importlib.metadata
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

import fusionkit as fk
from fusionkit.io.hashes import file_hash
from fusionkit.registry.plugins import GROUP
from fusionkit_scenes.dataset import Scenes

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


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """Collect the messages for users that are logged during a test."""
    messages: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("fusionkit")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield messages
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.fixture
def write_model() -> Callable[..., Path]:
    """Return a function that writes a tiny model with its card and gives the card."""

    def write(folder: Path, name: str = "small", **changes: object) -> Path:
        """Write a tiny U-Fuser with its card; return the card."""
        network = fk.build(
            "backbone", name="ufuser", channels=[4, 8], heads=4, modalities=("infrared", "visible")
        )
        weights = folder / f"{name}.safetensors"
        fk.save(network, weights)
        card = {
            "name": name,
            "summary": "A U-Fuser of two scales.",
            "modalities": ["infrared", "visible"],
            "weights": weights.name,
            "sha256": file_hash(weights),
            "data": "none, random weights",
            "terms": "as the code",
            "training": "none",
            "metrics": {"TNO": {"EN": 6.5, "VIF": 0.6123}},
            "limits": ["It has learned nothing."],
            **changes,
        }
        path = folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump({k: v for k, v in card.items() if v is not None}))
        return path

    return write


@pytest.fixture(scope="session")
def tiny_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe of all five stages that takes a second or two."""
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    path.write_text(
        """\
name: tiny
data: {name: scenes, size: 48, train: 2, val: 1}
teacher: [{name: average}]
sensors:
  infrared: {name: unet, width: 2}
  visible: {name: unet, width: 2}
backbone: {name: ufuser, channels: [4, 8], heads: 4}
transforms: [{name: reflect, count: 1}]
losses: [{name: sensing}]
stages:
  - {name: train-sensors, epochs: 2, batch_size: 2, crop: 32}
  - {name: train-backbone, epochs: 1, batch_size: 2, crop: 32}
  - {name: fuse}
  - {name: evaluate}
  - {name: report}
"""
    )
    return path


@pytest.fixture(scope="module")
def scene() -> dict[str, np.ndarray]:
    """A rendered pair, whose sensors disagree on everything but geometry."""
    images = Scenes(size=192, train=1)[0].images
    return {m: np.rint(x[0].numpy() * 255).astype(np.uint8) for m, x in images.items()}
