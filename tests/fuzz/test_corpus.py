"""What must hold for any bytes that are read as an image, a recipe or a suite.

``fuzz.py`` looks for inputs that break it, and keeps those that reach new code in ``corpus``.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from fusionkit.benchmark.suite import load_suite
from fusionkit.config.run_config import load_config
from fusionkit.errors import FusionkitError
from fusionkit.io.images import open_image, read_image
from fusionkit.io.metadata import Metadata, read_metadata
from fusionkit.io.pixel_limit import VARIABLE
from fusionkit.registry.plugins import Plugins, load_installed_plugins

CORPUS = Path(__file__).with_name("corpus")
MOST_PIXELS = str(1 << 18)
"""Larger images are refused, so that the time goes into what differs."""


def check_image(path: Path) -> None:
    """Size, type and windows are those of the whole image; metadata is read or left out."""
    metadata = read_metadata(path)
    assert isinstance(metadata, Metadata)
    try:
        pixels = read_image(path)
    except FusionkitError as error:
        if "\n" in str(error):
            raise AssertionError("an error has one line") from error
        return
    opened = open_image(path)
    assert (opened.size, opened.dtype) == (pixels.shape[:2], pixels.dtype)
    assert pixels.dtype in (np.uint8, np.uint16, np.float32)
    assert np.isfinite(pixels).all()
    height, width = opened.size
    rows, columns = slice(height // 3, height // 3 + 5), slice(width // 2, width)
    # Numbers in a damaged file may contradict each other where only windows need them.
    with suppress(FusionkitError):
        assert np.array_equal(opened.read_window(rows, columns), pixels[rows, columns])
    metadata.exif(opened.size)


def check_recipe(path: Path) -> None:
    """What is accepted can be written and read again."""
    try:
        config = load_config(path, [], plugins()).config
    except FusionkitError:
        return
    path.write_text(config.to_yaml(), encoding="utf-8")
    assert load_config(path, [], plugins()).config == config


def check_suite(path: Path) -> None:
    """A suite is accepted or refused."""
    try:
        load_suite(path, [], plugins()).config.to_dict()
    except FusionkitError:
        return


@cache
def plugins() -> Plugins:
    return load_installed_plugins()


TARGETS: dict[str, tuple[Callable[[Path], None], str]] = {
    "images": (check_image, "a.png"),
    "recipes": (check_recipe, "a.yaml"),
    "suites": (check_suite, "a.yaml"),
}


def read_corpus(target: str) -> list[bytes]:
    if not (CORPUS / f"{target}.txt").exists():
        return []
    lines = (CORPUS / f"{target}.txt").read_text(encoding="ascii").split()
    return [base64.b64decode(line) for line in lines]


@pytest.mark.parametrize("target", TARGETS)
def test_inputs_that_fuzzing_found(target, tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, MOST_PIXELS)
    check, name = TARGETS[target]
    inputs = read_corpus(target)
    assert len(inputs) > 50
    for data in inputs:
        (tmp_path / name).write_bytes(data)
        check(tmp_path / name)
