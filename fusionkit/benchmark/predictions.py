"""Predictions of tasks as plain values for a JSON file: boxes in rows, masks in run lengths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["decode_prediction", "encode_prediction"]


def encode_prediction(prediction: Tensor) -> dict[str, Any]:
    """Return a prediction as plain values.

    Args:
        prediction: Boxes (n, 6), floating point, with rows class, cx, cy, width, height,
            confidence; or a mask (h, w) of class indices.

    Returns:
        Boxes as ``{"boxes": rows}`` with five decimals; masks as ``{"mask": [values, counts],
        "width": w}``, the run lengths of the flattened mask.

    Example:
        >>> encode_prediction(torch.tensor([[0, 0, 2], [2, 2, 2]]))
        {'mask': [[0, 2], [2, 4]], 'width': 3}
        >>> encode_prediction(torch.tensor([[1, 0.5, 0.25, 0.5, 0.5, 0.875]]))
        {'boxes': [[1.0, 0.5, 0.25, 0.5, 0.5, 0.875]]}
    """
    if prediction.is_floating_point():
        return {"boxes": [[round(v, 5) for v in row] for row in prediction.tolist()]}
    values, counts = torch.unique_consecutive(prediction.flatten(), return_counts=True)
    return {"mask": [values.tolist(), counts.tolist()], "width": prediction.shape[-1]}


def decode_prediction(values: Mapping[str, Any]) -> Tensor:
    """Return the prediction that :func:`encode_prediction` was given.

    Example:
        >>> decode_prediction({"mask": [[0, 2], [2, 4]], "width": 3})
        tensor([[0, 0, 2],
                [2, 2, 2]])
    """
    if "boxes" in values:
        return torch.tensor(values["boxes"], dtype=torch.float32).reshape(-1, 6)
    classes, counts = (torch.tensor(v, dtype=torch.int64) for v in values["mask"])
    return classes.repeat_interleave(counts).reshape(-1, values["width"])
