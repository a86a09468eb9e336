"""Draws the predictions of a task over fused images."""

from __future__ import annotations

import colorsys
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from fusionkit.interfaces import IGNORED, Sample

__all__ = ["class_colour", "draw_scene", "labels_like"]

_WIDEST = 240
_LEAST_CONFIDENCE = 0.25


def draw_scene(image: NDArray[Any], found: Tensor | None) -> NDArray[Any]:
    """Draw boxes or a mask over an image.

    Args:
        image: (h, w) or (h, w, 3), uint8.
        found: Boxes (n, 6) with rows class, cx, cy, width, height, confidence, relative to the
            image, or a mask (h, w) of classes; None for the image alone. Boxes with a confidence
            below 0.25 are not drawn.

    Returns:
        The picture (h, w, 3), uint8, at most 240 pixels wide.

    Example:
        >>> mask = torch.zeros(30, 480, dtype=torch.int64)
        >>> draw_scene(np.zeros((30, 480), np.uint8), mask).shape
        (15, 240, 3)
    """
    picture = Image.fromarray(image).convert("RGB")
    if found is not None and not found.is_floating_point():
        mask = found.numpy()
        palette = np.array([class_colour(k) for k in range(IGNORED + 1)], np.float32)
        blended = 0.5 * np.asarray(picture, np.float32) + 0.5 * palette[mask]
        blended[mask == IGNORED] = np.asarray(picture)[mask == IGNORED]
        picture = Image.fromarray(blended.astype(np.uint8))
    scale = min(1.0, _WIDEST / picture.width)
    picture = picture.resize((round(picture.width * scale), round(picture.height * scale)))
    if found is not None and found.is_floating_point():
        draw = ImageDraw.Draw(picture)
        for kind, cx, cy, w, h, confidence in found.tolist():
            if confidence < _LEAST_CONFIDENCE:
                continue
            corners = ((cx - w / 2), (cy - h / 2), (cx + w / 2), (cy + h / 2))
            sides = (picture.width, picture.height) * 2
            draw.rectangle(
                [c * s for c, s in zip(corners, sides, strict=True)],
                outline=class_colour(int(kind)),
                width=2,
            )
    return np.asarray(picture)


def labels_like(sample: Sample, prediction: Tensor) -> Tensor:
    """Return the labels of a sample in the form of a prediction: a mask, or boxes (n, 6).

    Args:
        sample: The sample; it must have labels of that kind.
        prediction: A prediction of the task.
    """
    if not prediction.is_floating_point():
        assert sample.mask is not None
        return sample.mask
    assert sample.boxes is not None
    return torch.cat([sample.boxes, torch.ones(len(sample.boxes), 1)], dim=1)


def class_colour(kind: int) -> tuple[int, int, int]:
    """Return the colour of a class; neighbours are far apart on the colour wheel.

    Example:
        >>> class_colour(0)
        (242, 61, 61)
    """
    r, g, b = colorsys.hsv_to_rgb(kind * 0.618034 % 1, 0.75, 0.95)
    return round(r * 255), round(g * 255), round(b * 255)
