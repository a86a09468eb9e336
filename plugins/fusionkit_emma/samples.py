"""Early visible results: rows of sources and fused image as one PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fusionkit.io.images import write_image


def save_samples(path: Path, rows: Sequence[Sequence[Tensor]]) -> None:
    """Write a contact sheet.

    Args:
        path: A PNG file.
        rows: For each pair its images side by side, each (1, 1, h, w) in [0, 1].
    """
    strips = [
        torch.cat([image[0, 0].float().cpu() for image in row], dim=1).clamp(0, 1) for row in rows
    ]
    width = max(strip.shape[1] for strip in strips)
    padded = [torch.nn.functional.pad(s, (0, width - s.shape[1])) for s in strips]
    write_image(path, (torch.cat(padded).numpy() * 255).round().astype(np.uint8))
