"""Reads labels: masks of class indices, YOLO text files, VOC XML; each fault has its sentence."""

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
"""How far a box may reach over the border, in parts of the image: tools round."""


def check_mask(path: Path, size: tuple[int, int]) -> None:
    """Refuse a mask of another size than its images, without decoding it.

    Raises:
        FusionkitError: says both sizes.
    """
    found = image_size(path)
    if tuple(found) != tuple(size):
        raise FusionkitError(
            f"{path}: the mask has {found[0]}x{found[1]} pixels (height x width), its images have "
            f"{size[0]}x{size[1]}"
        )


def read_mask(path: Path, classes: int) -> Int[Tensor, "h w"]:
    """Return a mask of class indices; 255 stands for none.

    Raises:
        FusionkitError: for a picture in colours instead of indices, or a value that is no class.
    """
    values: NDArray[Any] = read_image(path)
    if values.ndim == 3:
        if (values != values[..., :1]).any():
            raise FusionkitError(
                f"{path}: expected a mask of class indices, found a picture in colours; take the "
                f"index masks of the data set"
            )
        values = values[..., 0]
    wrong = values[(values >= classes) & (values != IGNORED)]
    if wrong.size:
        raise FusionkitError(
            f"{path}: the mask has the value {int(wrong[0])}, expected a class from 0 to "
            f"{classes - 1} or {IGNORED} for none"
        )
    return torch.from_numpy(values.astype(np.int64))


def read_yolo(path: Path, classes: Sequence[str]) -> Float[Tensor, "n 5"]:
    """Return the boxes of a YOLO file: ``class cx cy w h`` a line, relative; none if it is empty.

    Raises:
        FusionkitError: with file and line.
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
        rows.append(_inside(where, kind, cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2))
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 5)


def read_voc(path: Path, classes: Sequence[str], size: tuple[int, int]) -> Float[Tensor, "n 5"]:
    """Return the boxes of a VOC XML file.

    Args:
        path: The file.
        classes: Names that ``object/name`` may have; case does not count.
        size: (h, w) of the image in pixels.

    Raises:
        FusionkitError: names the file and the object.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise FusionkitError(f"{path}: no valid XML: {error}") from None
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
        # VOC counts pixels from 1 and both ends belong to the box; many files count from 0.
        slack_x, slack_y = 1.5 / width, 1.5 / height
        box = (left / width, top / height, right / width, bottom / height)
        kind = lower.index(name.lower())
        rows.append(_inside(where, kind, *box, slack=max(slack_x, slack_y)))
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 5)


def _inside(
    where: str,
    kind: float,
    left: float,
    top: float,
    right: float,
    bottom: float,
    slack: float = _TOLERANCE,
) -> list[float]:
    """Return class, centre and size of a box, cut at the borders; refuse one outside of them."""
    if right <= left or bottom <= top:
        raise FusionkitError(f"{where}: the box is empty ({left:g} {top:g} {right:g} {bottom:g})")
    if min(left, top) < -slack or max(right, bottom) > 1 + slack:
        raise FusionkitError(
            f"{where}: the box from ({left:.4g}, {top:.4g}) to ({right:.4g}, {bottom:.4g}) is "
            f"outside the image, which reaches from 0 to 1"
        )
    left, top, right, bottom = (min(1.0, max(0.0, v)) for v in (left, top, right, bottom))
    return [float(kind), (left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
