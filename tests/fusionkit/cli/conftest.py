"""A command line that runs in this process, and two pairs to give it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fusionkit import cli


@pytest.fixture
def fusionkit(capsys, monkeypatch):
    """Run a command in this process; return exit code, output, messages."""

    def run(*arguments) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fusionkit", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Two pairs: infrared grey, visible in colour."""
    generator = np.random.default_rng(0)
    for modality, shape in (("ir", (50, 67)), ("vi", (50, 67, 3))):
        (tmp_path / modality).mkdir()
        for name in ("a", "b"):
            pixels = generator.integers(0, 256, shape, dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / modality / f"{name}.png")
    return tmp_path


@pytest.fixture
def sources(pairs: Path) -> list[str]:
    """Options that name the pairs."""
    return ["--source", f"infrared={pairs / 'ir'}", "--source", f"visible={pairs / 'vi'}"]
