"""Weights and images from closed formulas, so that parity fixtures can leave both out.

The fixtures record what the official code computes with these weights from these images. Every
value is a sine of its position, evaluated in double precision and rounded once.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def fill(state: dict[str, Tensor], salt: float = 0.0) -> None:
    """Overwrite the tensors of a state dict in place.

    Args:
        state: Tensors by name. Names are numbered in alphabetical order, and the number shifts
            the phase of the tensor's wave.
        salt: Added to every phase, so that two networks of one shape get different weights.
    """
    for position, (name, tensor) in enumerate(sorted(state.items())):
        if tensor.is_floating_point():
            offset, amplitude = _range(name, tensor)
            phases = 0.73 * _count(tensor.numel()) + 1.7 * position + salt
            tensor.copy_((offset + amplitude * phases.sin()).view_as(tensor))
        else:
            tensor.fill_(0)


def image(b: int, c: int, h: int, w: int, phase: float = 0.0) -> Tensor:
    """Return (b, c, h, w) float32 images in [0, 1]: a wave along x plus a slower one along y.

    Args:
        b: Batch size; each image of the batch has waves of another phase.
        c: Channels; likewise.
        h: Height in pixels.
        w: Width in pixels.
        phase: Shifts all waves, so that two modalities show different images.
    """
    index = _count(b * c).view(b, c, 1, 1)
    rows = torch.linspace(0, 3 * math.pi, h, dtype=torch.float64).view(h, 1)
    columns = torch.linspace(0, 4 * math.pi, w, dtype=torch.float64)
    along_x = torch.sin(columns + index + phase)
    along_y = torch.cos(1.3 * rows - index / 2 + 2 * phase)
    return ((2 + along_x + along_y) / 4).float()


def _count(length: int) -> Tensor:
    return torch.arange(length, dtype=torch.float64)


def _range(name: str, tensor: Tensor) -> tuple[float, float]:
    """Return the middle and the amplitude of a tensor's wave, which keep activations moderate."""
    last = name.rsplit(".", 1)[-1]
    if last == "running_var":
        return 1.0, 0.5
    if last in ("bias", "running_mean"):
        return 0.0, 0.1
    if last == "scale" or tensor.dim() == 1:  # attention temperatures, weights of norms
        return 1.0, 0.1
    inputs = tensor[0].numel()
    return 0.0, math.sqrt(1.2 / inputs)
