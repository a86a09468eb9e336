"""Fused images with what a task found in them drawn over."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

__all__ = ["class_colour", "draw_scene"]

_WIDEST = 240
_LEAST_CONFIDENCE = 0.25


def draw_scene(path: Path, prediction: Mapping[str, Any] | None) -> NDArray[np.uint8]:
    """Return a fused image with predicted boxes or mask drawn over it, (h, w, 3).

    Args:
        path: The fused image.
        prediction: ``boxes`` as rows class, cx, cy, width, height, confidence, relative to the
            image, or ``mask`` as runs of values and counts; None for the image alone.
    """
    image = Image.open(path).convert("RGB")
    if prediction is not None and "mask" in prediction:
        values, counts = prediction["mask"]
        mask = np.repeat(values, counts).reshape(-1, prediction["width"])
        palette = np.array([class_colour(k) for k in range(max(values) + 1)], np.float32)
        blended = 0.5 * np.asarray(image, np.float32) + 0.5 * palette[mask]
        image = Image.fromarray(blended.astype(np.uint8))
    scale = min(1.0, _WIDEST / image.width)
    image = image.resize((round(image.width * scale), round(image.height * scale)))
    if prediction is not None and "boxes" in prediction:
        draw = ImageDraw.Draw(image)
        for kind, cx, cy, w, h, confidence in prediction["boxes"]:
            if confidence < _LEAST_CONFIDENCE:
                continue
            corners = ((cx - w / 2), (cy - h / 2), (cx + w / 2), (cy + h / 2))
            sides = (image.width, image.height) * 2
            draw.rectangle(
                [c * s for c, s in zip(corners, sides, strict=True)],
                outline=class_colour(int(kind)),
                width=2,
            )
    return np.asarray(image)


def class_colour(kind: int) -> tuple[int, int, int]:
    """Return a colour of its own for each class; neighbours are far apart on the colour wheel."""
    r, g, b = colorsys.hsv_to_rgb(kind * 0.618034 % 1, 0.75, 0.95)
    return round(r * 255), round(g * 255), round(b * 255)
