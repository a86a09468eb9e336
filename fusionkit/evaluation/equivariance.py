"""The equivariance audit: how far fusing is from commuting with the transforms of a group."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
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
from fusionkit.io.csv_text import csv_text
from fusionkit.io.images import write_image
from fusionkit.progress import Progress, SilentProgress

__all__ = [
    "AuditExample",
    "AuditLine",
    "GroupError",
    "audit",
    "example_pictures",
    "summarize_audit",
    "write_audit",
]

_SHOWN = 220
"""Width of each picture in pixels."""

_GAIN = 10
"""Factor by which the pictures brighten the errors."""


@dataclass(frozen=True)
class AuditLine:
    """The error of one transform T on one image x: how F(T x) differs from T F(x).

    Attributes:
        image: Name of the scene.
        group: Name of the transform group.
        element: The transform with its parameters.
        rmse: Root mean square difference over the valid pixels, in units of the range [0, 1].
        psnr: -20 log10(rmse) in dB; infinite if rmse is 0.
        worst: Largest absolute difference at a valid pixel.
        valid: Share of the pixels that are valid, in [0, 1].
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
    """Both sides of the equation for one transform.

    Attributes:
        line: The error.
        expected: T F(x), (h, w) in [0, 1].
        found: F(T x), (h, w) in [0, 1].
        mask: The valid pixels, (h, w).
    """

    line: AuditLine
    expected: Float[Tensor, "h w"]
    found: Float[Tensor, "h w"]
    mask: Bool[Tensor, "h w"]


@dataclass(frozen=True)
class GroupError:
    """The error of a transform group over all images and elements.

    Attributes:
        rmse: Root mean square difference, each image and element counted alike.
        psnr: -20 log10(rmse) in dB; infinite if rmse is 0.
        worst: Largest absolute difference.
        elements: Number of different elements.
    """

    rmse: float
    psnr: float
    worst: float
    elements: int


def audit(
    backbone: Backbone,
    samples: Iterable[Sample],
    groups: Mapping[str, TransformGroup],
    *,
    count: int = 5,
    margin: int = 0,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[list[AuditLine], list[AuditExample]]:
    """Compare F(T x) with T F(x), where F pads, fuses, crops and clamps as it does for users.

    Args:
        backbone: F.
        samples: Scenes x of any size.
        groups: Name -> group that T is drawn from.
        count: Number of elements of each group; fewer if the group has fewer.
        margin: Also ignore pixels within this distance of an invalid one. A network sees the
            border of the transformed image as far away as its receptive field reaches.
        seed: Random seed; every backbone sees the same transforms.
        progress: Receives a step for each image.

    Returns:
        A line for each image and element; and for the first image, the element with the largest
        error of each group.

    Raises:
        FusionkitError: if a group has no element for an image, or none leaves a valid pixel.

    Example:
        >>> import fusionkit as fk
        >>> scene = Sample("ramp", {m: torch.rand(1, 16, 24) for m in ("infrared", "visible")})
        >>> groups = {"reflect": fk.build("transform", name="reflect")}
        >>> lines, _ = audit(fk.build("backbone", name="average"), [scene], groups, count=3)
        >>> len(lines), max(line.worst for line in lines) < 1e-6
        (3, True)
    """
    progress = progress or SilentProgress()
    lines: list[AuditLine] = []
    worst: dict[str, AuditExample] = {}
    first = None
    for sample in samples:
        first = first or sample.id
        fused = backbone.fuse(sample)
        sources = {m: x.to(fused.device) for m, x in sample.images.items()}
        size = (fused.shape[-2], fused.shape[-1])
        for name, group in groups.items():
            generator = torch.Generator().manual_seed(seed)
            for element in _draw(name, group, count, size, generator):
                images = {m: element.apply(x[None])[0] for m, x in sources.items()}
                found = backbone.fuse(Sample(sample.id, images))[0]
                expected = element.apply(fused[None])[0, 0]
                mask = _eroded(element.valid(size), margin)
                if not mask.any():
                    continue
                gaps = (found - expected)[mask.to(fused.device)].double()
                rmse = float(gaps.square().mean().sqrt())
                line = AuditLine(
                    sample.id,
                    name,
                    str(element),
                    rmse,
                    _psnr(rmse),
                    float(gaps.abs().max()),
                    float(mask.double().mean()),
                )
                lines.append(line)
                if sample.id == first and (name not in worst or rmse > worst[name].line.rmse):
                    worst[name] = AuditExample(line, expected.cpu(), found.cpu(), mask)
        progress.step()
    if missing := [name for name in groups if name not in {line.group for line in lines}]:
        raise FusionkitError(
            f"no element of {missing[0]} leaves a valid pixel; lower the margin of {margin} pixels"
        )
    return lines, list(worst.values())


def summarize_audit(lines: Sequence[AuditLine]) -> dict[str, GroupError]:
    """Return group -> error over all images and elements.

    Example:
        >>> line = AuditLine("a", "shift", "shift by 3, 4", 0.01, 40.0, 0.2, 1.0)
        >>> summarize_audit([line])["shift"].worst
        0.2
    """
    errors: dict[str, GroupError] = {}
    for group in dict.fromkeys(line.group for line in lines):
        own = [line for line in lines if line.group == group]
        rmse = math.sqrt(math.fsum(line.rmse**2 for line in own) / len(own))
        errors[group] = GroupError(
            rmse=rmse,
            psnr=_psnr(rmse),
            worst=max(line.worst for line in own),
            elements=len({line.element for line in own}),
        )
    return errors


def write_audit(folder: Path, lines: Sequence[AuditLine], examples: Sequence[AuditExample]) -> None:
    """Write ``audit.csv`` with a line for each image and element, and ``audit.png``.

    The picture has a row for each group with T F(x), F(T x) and their difference, ten times as
    bright, for the element with the largest error on the first image. Invalid pixels are blue.

    Args:
        folder: The folder; created if it does not exist.
        lines: The audit.
        examples: The elements to show.

    Raises:
        FusionkitError: if the folder can't be written.

    Example:
        >>> import tempfile
        >>> line = AuditLine("a", "shift", "by 3 rows", 0.01, 40.0, 0.2, 1.0)
        >>> image = torch.rand(20, 30)
        >>> example = AuditExample(line, image, image, torch.ones(20, 30, dtype=torch.bool))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_audit(Path(folder), [line], [example])
        ...     sorted(path.name for path in Path(folder).iterdir())
        ['audit.csv', 'audit.png']
    """
    make_folder(folder)
    columns = [field.name for field in fields(AuditLine)]
    write_text(folder / "audit.csv", csv_text([columns, *(astuple(line) for line in lines)]))
    rows = [np.concatenate(example_pictures(example), axis=1) for example in examples]
    write_image(folder / "audit.png", np.concatenate(rows))


def example_pictures(example: AuditExample) -> tuple[NDArray[np.uint8], ...]:
    """Return T F(x), F(T x) and their difference ten times as bright, each (h, w, 3).

    Invalid pixels are blue.

    Example:
        >>> line = AuditLine("a", "shift", "by 3 rows", 0.01, 40.0, 0.2, 1.0)
        >>> image = torch.rand(20, 30)
        >>> example = AuditExample(line, image, image, torch.ones(20, 30, dtype=torch.bool))
        >>> expected, found, difference = example_pictures(example)
        >>> bool((expected == found).all())
        True
    """
    gap = ((example.found - example.expected).abs() * _GAIN).clamp(0, 1)
    return tuple(_picture(x, example.mask) for x in (example.expected, example.found, gap))


def _psnr(rmse: float) -> float:
    return -20 * math.log10(rmse) if rmse > 0 else math.inf


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
    """Remove the pixels within ``margin`` pixels of an invalid one."""
    if margin == 0:
        return mask
    invalid = (~mask)[None, None].float()
    return F.max_pool2d(invalid, 2 * margin + 1, stride=1, padding=margin)[0, 0] < 0.5


def _picture(x: Float[Tensor, "h w"], mask: Bool[Tensor, "h w"]) -> NDArray[np.uint8]:
    """Return an image as RGB of fixed width with a border; invalid pixels are blue."""
    grey = (x.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    pixels = np.stack([grey] * 3, axis=-1)
    pixels[~mask.numpy()] = (20, 40, 120)
    height = max(1, round(_SHOWN * x.shape[0] / x.shape[1]))
    shown = np.asarray(Image.fromarray(pixels).resize((_SHOWN, height)))
    return np.pad(shown, ((1, 1), (1, 1), (0, 0)), constant_values=255)
