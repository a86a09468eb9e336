"""What all tests share: the real image pairs, one thread."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from jaxtyping import install_import_hook

# Shapes in signatures are checked here and nowhere else: users don't pay for it.
install_import_hook(
    ["fusionkit.functional", "fusionkit_classic", "fusionkit_emma.distances"], "beartype.beartype"
)

torch.set_num_threads(1)  # the parity fixtures were made so, and two busy cores spin otherwise

SHARED = Path(__file__).resolve().parents[1].parent / "shared"


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real pairs; FUSIONKIT_DATA names another one."""
    root = Path(os.environ.get("FUSIONKIT_DATA", SHARED / "data"))
    if not (root / "tno").is_dir():
        pytest.skip(f"real image pairs: no folder {root / 'tno'}; set FUSIONKIT_DATA")
    return root
