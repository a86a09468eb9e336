"""Reads label files: masks of class indices, YOLO text files and VOC XML files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from fusionkit.errors import FusionkitError, nearest
from fusionkit.interfaces import IGNORED
from fusionkit.io.images import image_size, read_image

_TOLERANCE = 1e-3
"""How far a box may extend beyond the image, relative to its size: labelling tools round."""


def check_mask(path: Path, size: tuple[int, int]) -> None:
    """Check the size of a mask without decoding it.

    Args:
        path: The mask.
        size: (h, w) of its images in pixels.

    Raises:
        FusionkitError: if the mask has another size.
    """
    found = image_size(path)
    if tuple(found) != tuple(size):
        raise FusionkitError(
            f"{path}: the mask has {found[0]}x{found[1]} pixels (height x width), its images have "
            f"{size[0]}x{size[1]}"
        )


def read_mask(path: Path, classes: int) -> Int[Tensor, "h w"]:
    """Return a mask of class indices; 255 marks pixels without a class.

    Args:
        path: The mask.
        classes: Number of classes.

    Raises:
        FusionkitError: if the mask shows classes as colours, or has a value that is no class.
    """
    values: NDArray[Any] = read_image(path)
    if values.ndim == 3:
        if (values != values[..., :1]).any():
            raise FusionkitError(
                f"{path}: expected a mask of class indices, found colours; use the index masks "
                f"of the data set"
            )
        values = values[..., 0]
    wrong = values[(values >= classes) & (values != IGNORED)]
    if wrong.size:
        raise FusionkitError(
            f"{path}: the mask has the value {int(wrong[0])}, expected a class from 0 to "
            f"{classes - 1}, or {IGNORED} for pixels without a class"
        )
    return torch.from_numpy(values.astype(np.int64))


def read_yolo(path: Path, classes: Sequence[str]) -> Float[Tensor, "n 5"]:
    """Return the boxes of a YOLO file, which has one line ``class cx cy width height`` per box.

    Args:
        path: The file; an empty file has no boxes.
        classes: Names of the classes, by index.

    Returns:
        Rows class, cx, cy, width, height, relative to the image, cut at its borders.

    Raises:
        FusionkitError: if a line is no box of a known class inside the image, with file and line.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.txt"
        ...     _ = path.write_text("1 0.5 0.5 0.25 0.5")
        ...     read_yolo(path, ["person", "car"])
        tensor([[1.0000, 0.5000, 0.5000, 0.2500, 0.5000]])
    """
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            kind, cx, cy, w, h = (float(part) for part in line.split())
        except ValueError:
            raise FusionkitError(
                f"{where}: expected `class cx cy width height`, found {line.strip()!r}"
            ) from None
        if not (kind.is_integer() and 0 <= kind < len(classes)):
            raise FusionkitError(
                f"{where}: the class id is {kind:g}, expected one from 0 to {len(classes) - 1} "
                f"({', '.join(classes)})"
            )
        corners = (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2)
        rows.append(_box_row(where, kind, corners))
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 5)


def read_voc(path: Path, classes: Sequence[str], size: tuple[int, int]) -> Float[Tensor, "n 5"]:
    """Return the boxes of a VOC XML file.

    Args:
        path: The file.
        classes: Names of the classes, by index; ``object/name`` may differ in case.
        size: (h, w) of the image in pixels.

    Returns:
        Rows class, cx, cy, width, height, relative to the image, cut at its borders.

    Raises:
        FusionkitError: if an object is no box of a known class inside the image, with the file
            and the number of the object.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise FusionkitError(f"{path}: expected valid XML, found: {error}") from None
    height, width = size
    lower = [name.lower() for name in classes]
    rows = []
    for number, item in enumerate(root.iter("object"), start=1):
        where = f"{path}: object {number}"
        name = (item.findtext("name") or "").strip()
        if name.lower() not in lower:
            raise FusionkitError(
                f"{where}: the class is {name!r}, expected one of {', '.join(classes)}"
                + nearest(name, classes)
            )
        corners = []
        for key in ("xmin", "ymin", "xmax", "ymax"):
            text = item.findtext(f"bndbox/{key}")
            try:
                corners.append(float(text or ""))
            except ValueError:
                raise FusionkitError(
                    f"{where}: expected a number for bndbox/{key}, found {text!r}"
                ) from None
        left, top, right, bottom = corners
        # VOC counts pixels from 1 and includes both ends of a box; many files count from 0.
        slack_x, slack_y = 1.5 / width, 1.5 / height
        box = (left / width, top / height, right / width, bottom / height)
        kind = lower.index(name.lower())
        rows.append(_box_row(where, kind, box, slack=max(slack_x, slack_y)))
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 5)


def _box_row(
    where: str,
    kind: float,
    corners: tuple[float, float, float, float],
    slack: float = _TOLERANCE,
) -> list[float]:
    """Return class, centre and size of a box, cut at the borders of the image.

    Raises:
        FusionkitError: if the box is empty, or extends beyond the image by more than ``slack``.
    """
    left, top, right, bottom = corners
    if right <= left or bottom <= top:
        raise FusionkitError(f"{where}: the box is empty ({left:g} {top:g} {right:g} {bottom:g})")
    if min(left, top) < -slack or max(right, bottom) > 1 + slack:
        raise FusionkitError(
            f"{where}: the box from ({left:.4g}, {top:.4g}) to ({right:.4g}, {bottom:.4g}) is "
            f"not inside the image, which spans 0 to 1"
        )
    left, top, right, bottom = (min(1.0, max(0.0, v)) for v in (left, top, right, bottom))
    return [float(kind), (left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
