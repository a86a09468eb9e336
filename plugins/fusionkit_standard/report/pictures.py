"""Pictures inside a page."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def data_url(image: NDArray[Any]) -> str:
    """Return an 8- or 16-bit image as the URL of a PNG that holds it, in 8 bits."""
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
