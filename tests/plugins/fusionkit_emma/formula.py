"""Closed-form weights and images, as the parity fixtures were made with."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def fill(state: dict[str, Tensor], salt: float = 0.0) -> None:
    """Overwrite every tensor of a state dict, in sorted key order."""
    for k, key in enumerate(sorted(state)):
        tensor = state[key]
        if not tensor.is_floating_point():
            tensor.zero_()
            continue
        n = tensor.numel()
        wave = torch.sin(0.73 * torch.arange(n, dtype=torch.float64) + 1.7 * k + salt)
        if key.endswith("running_var"):
            value = 1.0 + 0.5 * wave
        elif key.endswith(("running_mean", "bias")):
            value = 0.1 * wave
        elif tensor.dim() == 1 or key.endswith("scale"):
            value = 1.0 + 0.1 * wave
        else:
            value = math.sqrt(1.2 / (n // tensor.shape[0])) * wave
        tensor.copy_(value.reshape(tensor.shape).to(tensor.dtype))


def image(b: int, c: int, h: int, w: int, phase: float = 0.0) -> Tensor:
    """Return a smooth image in [0, 1]."""
    y = torch.linspace(0, 3 * math.pi, h, dtype=torch.float64)[:, None]
    x = torch.linspace(0, 4 * math.pi, w, dtype=torch.float64)[None, :]
    n = torch.arange(b * c, dtype=torch.float64)[:, None, None]
    v = 0.5 + 0.25 * torch.sin(x + n + phase) + 0.25 * torch.cos(1.3 * y - 0.5 * n + 2 * phase)
    return v.reshape(b, c, h, w).to(torch.float32)
