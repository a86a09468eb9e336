"""Contact sheets of held-out pairs, written during the training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fusionkit.io.images import write_image


def save_samples(path: Path, rows: Sequence[Sequence[Tensor]]) -> None:
    """Write a contact sheet as PNG, one row per pair.

    Args:
        path: The PNG file to write.
        rows: The images of each pair, each (1, 1, h, w) in [0, 1]; they stand side by side.
    """
    strips = [
        torch.cat([image[0, 0].float().cpu() for image in row], dim=1).clamp(0, 1) for row in rows
    ]
    width = max(strip.shape[1] for strip in strips)
    padded = [torch.nn.functional.pad(s, (0, width - s.shape[1])) for s in strips]
    write_image(path, (torch.cat(padded).numpy() * 255).round().astype(np.uint8))
