"""Fused images with what a task found in them drawn over."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from fusionkit.interfaces import IGNORED, Sample

__all__ = ["class_colour", "draw_scene", "kept", "labelled", "unpacked"]

_WIDEST = 240
_LEAST_CONFIDENCE = 0.25


def draw_scene(image: NDArray[Any], found: Mapping[str, Any] | None) -> NDArray[Any]:
    """Return an image with boxes or a mask drawn over it, (h, w, 3), at most 240 pixels wide.

    Args:
        image: (h, w) or (h, w, 3), 8 bits.
        found: ``boxes`` as rows class, cx, cy, width, height, confidence, relative to the image,
            or ``mask`` (h, w) of classes; None for the image alone.
    """
    picture = Image.fromarray(image).convert("RGB")
    if found is not None and "mask" in found:
        mask = found["mask"]
        palette = np.array([class_colour(k) for k in range(IGNORED + 1)], np.float32)
        blended = 0.5 * np.asarray(picture, np.float32) + 0.5 * palette[mask]
        blended[mask == IGNORED] = np.asarray(picture)[mask == IGNORED]
        picture = Image.fromarray(blended.astype(np.uint8))
    scale = min(1.0, _WIDEST / picture.width)
    picture = picture.resize((round(picture.width * scale), round(picture.height * scale)))
    if found is not None and "boxes" in found:
        draw = ImageDraw.Draw(picture)
        for kind, cx, cy, w, h, confidence in found["boxes"]:
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


def kept(prediction: Tensor) -> dict[str, Any]:
    """Return boxes (n, 6), or of a mask (h, w) the run lengths, as plain values for a file."""
    if prediction.is_floating_point():
        return {"boxes": [[round(v, 5) for v in row] for row in prediction.tolist()]}
    values, counts = torch.unique_consecutive(prediction.flatten(), return_counts=True)
    return {"mask": [values.tolist(), counts.tolist()], "width": prediction.shape[-1]}


def unpacked(kept: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return what :func:`kept` was given, as :func:`draw_scene` takes it."""
    if kept is None or "mask" not in kept:
        return kept
    return {"mask": np.repeat(*kept["mask"]).reshape(-1, kept["width"])}


def labelled(sample: Sample, like: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the labels of a sample, of the kind that a prediction is of."""
    if "mask" in like:
        assert sample.mask is not None
        return {"mask": sample.mask.numpy()}
    assert sample.boxes is not None
    return {"boxes": [[*row, 1.0] for row in sample.boxes.tolist()]}


def class_colour(kind: int) -> tuple[int, int, int]:
    """Return a colour of its own for each class; neighbours are far apart on the colour wheel."""
    r, g, b = colorsys.hsv_to_rgb(kind * 0.618034 % 1, 0.75, 0.95)
    return round(r * 255), round(g * 255), round(b * 255)
