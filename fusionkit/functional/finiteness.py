"""Whether states hold NaN or infinity."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["first_nonfinite"]


def first_nonfinite(state: Any) -> str | None:
    """Return where the first tensor with NaN or infinity is in a state, None if all are finite.

    Numbers outside tensors are left alone: some optimizers keep infinite settings in their state.

    Args:
        state: Tensors, in dictionaries, lists and tuples of any depth.

    Returns:
        The keys that lead to the tensor, joined by dots.

    Example:
        >>> good, bad = torch.zeros(2), torch.tensor([1.0, float("nan")])
        >>> first_nonfinite({"backbone": {"weight": bad, "bias": good}})
        'backbone.weight'
        >>> first_nonfinite({"backbone": [good], "epochs": 1}) is None
        True
    """
    if isinstance(state, Tensor):
        return None if bool(torch.isfinite(state).all()) else ""
    if isinstance(state, dict):
        items = state.items()
    elif isinstance(state, list | tuple):
        items = enumerate(state)
    else:
        return None
    for key, value in items:
        if (place := first_nonfinite(value)) is not None:
            return f"{key}.{place}".removesuffix(".")
    return None
