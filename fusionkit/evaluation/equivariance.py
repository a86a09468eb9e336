"""The equivariance audit: how far fusing is from commuting with each transform of each group."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from fusionkit.errors import FusionkitError
from fusionkit.interfaces import Backbone, Sample, TransformElement, TransformGroup
from fusionkit.io.atomic_write import make_folder, write_text
from fusionkit.io.images import write_image

__all__ = ["AuditExample", "AuditLine", "audit", "example_pictures", "summary", "write_audit"]

_SHOWN = 220
"""Width in pixels of each picture."""

_GAIN = 10
"""Errors are shown so many times brighter."""


@dataclass(frozen=True)
class AuditLine:
    """The error of one element on one image.

    Attributes:
        image: Name of the scene.
        group: Name of the transform group.
        element: The element, with its parameters.
        rmse: Root of the mean of (F(T x) - T F(x))^2 over the valid pixels, of the [0, 1] range.
        psnr: -20 log10 of it, in dB; infinite where it is 0.
        worst: Largest difference at a valid pixel.
        valid: Part of the pixels that are valid.
    """

    image: str
    group: str
    element: str
    rmse: float
    psnr: float
    worst: float
    valid: float


@dataclass(frozen=True)
class AuditExample:
    """Both sides of the equation for one element.

    Attributes:
        line: The error.
        expected: T F(x).
        found: F(T x).
        mask: The valid pixels.
    """

    line: AuditLine
    expected: Float[Tensor, "h w"]
    found: Float[Tensor, "h w"]
    mask: Bool[Tensor, "h w"]


def audit(
    backbone: Backbone,
    samples: Iterable[Sample],
    groups: Mapping[str, TransformGroup],
    *,
    count: int = 5,
    margin: int = 0,
    seed: int = 0,
    progress: Callable[[], None] = lambda: None,
) -> tuple[list[AuditLine], list[AuditExample]]:
    """Compare F(T x) with T F(x), where F is what users call: padded, cropped and clamped.

    Args:
        backbone: F.
        samples: Scenes x, of any size.
        groups: Name -> group that T is drawn from.
        count: Elements of each group; fewer where it has fewer.
        margin: Pixels next to invalid ones that are left out too: a network sees the border of
            the transformed image from as far as its receptive field reaches.
        seed: Of what is drawn; every backbone gets the same.
        progress: Called after each image.

    Returns:
        A line per image and element, and of the first image the element of each group that is
        farthest off.

    Raises:
        FusionkitError: if a group has no element for an image, or none with a valid pixel.
    """
    lines: list[AuditLine] = []
    worst: dict[str, AuditExample] = {}
    first = None
    for sample in samples:
        first = first or sample.id
        fused = backbone.fuse(sample)
        size = (fused.shape[-2], fused.shape[-1])
        for name, group in groups.items():
            generator = torch.Generator().manual_seed(seed)
            for element in _draw(name, group, count, size, generator):
                images = {m: element.apply(x[None])[0] for m, x in sample.images.items()}
                found = backbone.fuse(Sample(sample.id, images))[0]
                expected = element.apply(fused[None])[0, 0]
                mask = _eroded(element.valid(size), margin)
                if not mask.any():
                    continue
                gaps = (found - expected)[mask].double()
                rmse = float(gaps.square().mean().sqrt())
                line = AuditLine(
                    sample.id,
                    name,
                    str(element),
                    rmse,
                    -20 * math.log10(rmse) if rmse > 0 else math.inf,
                    float(gaps.abs().max()),
                    float(mask.double().mean()),
                )
                lines.append(line)
                if sample.id == first and (name not in worst or rmse > worst[name].line.rmse):
                    worst[name] = AuditExample(line, expected, found, mask)
        progress()
    if missing := [name for name in groups if name not in {line.group for line in lines}]:
        raise FusionkitError(
            f"no element of {missing[0]} leaves a valid pixel; lower the margin of {margin} pixels"
        )
    return lines, list(worst.values())


def summary(lines: Sequence[AuditLine]) -> dict[str, dict[str, float]]:
    """Return group -> ``rmse`` over all pixels alike, its ``psnr``, ``worst`` and ``elements``."""
    found: dict[str, dict[str, float]] = {}
    for group in dict.fromkeys(line.group for line in lines):
        own = [line for line in lines if line.group == group]
        rmse = math.sqrt(math.fsum(line.rmse**2 for line in own) / len(own))
        found[group] = {
            "rmse": rmse,
            "psnr": -20 * math.log10(rmse) if rmse > 0 else math.inf,
            "worst": max(line.worst for line in own),
            "elements": len({line.element for line in own}),
        }
    return found


def write_audit(folder: Path, lines: Sequence[AuditLine], examples: Sequence[AuditExample]) -> None:
    """Write ``audit.csv``, a line per image and element, and ``audit.png``.

    The picture has a row per group: T F(x), F(T x), and their difference ten times as bright, of
    the element that is farthest off on the first image; invalid pixels are blue.
    """
    make_folder(folder)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([field.name for field in fields(AuditLine)])
    writer.writerows(astuple(line) for line in lines)
    write_text(folder / "audit.csv", text.getvalue())
    rows = [np.concatenate(example_pictures(example), axis=1) for example in examples]
    write_image(folder / "audit.png", np.concatenate(rows))


def example_pictures(example: AuditExample) -> tuple[NDArray[np.uint8], ...]:
    """Return T F(x), F(T x) and their difference ten times as bright, each (h, w, 3).

    Invalid pixels are blue.
    """
    gap = ((example.found - example.expected).abs() * _GAIN).clamp(0, 1)
    return tuple(_picture(x, example.mask) for x in (example.expected, example.found, gap))


def _draw(
    name: str, group: TransformGroup, count: int, size: tuple[int, int], generator: torch.Generator
) -> Sequence[TransformElement]:
    """Draw ``count`` elements, or as many as the group has for this size."""
    order = group.order(size)
    try:
        return group.sample(count if order is None else min(count, order), size, generator)
    except FusionkitError as error:
        raise FusionkitError(f"{name}: {error}") from None


def _eroded(mask: Bool[Tensor, "h w"], margin: int) -> Bool[Tensor, "h w"]:
    """Leave out what is within ``margin`` pixels of an invalid one."""
    if margin == 0:
        return mask
    invalid = (~mask)[None, None].float()
    return F.max_pool2d(invalid, 2 * margin + 1, stride=1, padding=margin)[0, 0] < 0.5


def _picture(x: Float[Tensor, "h w"], mask: Bool[Tensor, "h w"]) -> NDArray[np.uint8]:
    """Return an image of a set width as RGB with a border, invalid pixels blue."""
    grey = (x.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    pixels = np.stack([grey] * 3, axis=-1)
    pixels[~mask.numpy()] = (20, 40, 120)
    height = max(1, round(_SHOWN * x.shape[0] / x.shape[1]))
    shown = np.asarray(Image.fromarray(pixels).resize((_SHOWN, height)))
    return np.pad(shown, ((1, 1), (1, 1), (0, 0)), constant_values=255)
