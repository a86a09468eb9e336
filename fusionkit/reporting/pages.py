"""What the HTML pages share: one style sheet, and pictures inside the file."""

from __future__ import annotations

import base64
import io
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["data_url", "style"]


def style() -> str:
    """Return the style sheet."""
    return files("fusionkit.reporting").joinpath("style.css").read_text(encoding="utf-8").strip()


def data_url(image: NDArray[Any]) -> str:
    """Return an 8- or 16-bit image as the URL of a PNG that holds it, in 8 bits."""
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
