"""Scores folders of fused images against the folders of their sources."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from fusionkit.errors import FusionkitError, nearest
from fusionkit.functional.colour import grey_u8
from fusionkit.interfaces import Metric
from fusionkit.io.images import list_images, read_image, to_float
from fusionkit.registry.arguments import make_spec
from fusionkit.registry.components import Registry
from fusionkit.registry.plugins import load_installed_plugins
from fusionkit.registry.signatures import parameters_of

__all__ = [
    "Score",
    "as_saved",
    "compare_profiles",
    "grey_tensor",
    "installed_metrics",
    "means",
    "metrics_of",
    "score_arrays",
    "score_files",
    "score_folders",
    "to_csv",
]


@dataclass(frozen=True)
class Score:
    """One value: the columns of the CSV file."""

    image: str
    metric: str
    value: float


def score_folders(
    fused: Path,
    sources: Mapping[str, Path],
    metrics: Sequence[Metric],
    progress: Callable[[], None] = lambda: None,
) -> list[Score]:
    """Score every image of a folder against the sources of the same stem.

    Args:
        fused: Folder of fused images.
        sources: Modality name -> folder; images without a fused partner are left out.
        metrics: What to compute.
        progress: Called after each image.

    Raises:
        FusionkitError: if a fused image has no source, or another size.
    """
    images = list_images(fused)
    folders = {modality: list_images(folder) for modality, folder in sources.items()}
    for modality, found in folders.items():
        if missing := [stem for stem in images if stem not in found]:
            raise FusionkitError(
                f"{len(missing)} of the {len(images)} fused images in {fused} have no {modality} "
                f"source in {sources[modality]}: {', '.join(missing[:10])}"
            )
    scores = []
    for stem, path in images.items():
        paths = {modality: found[stem] for modality, found in folders.items()}
        scores += score_files(stem, path, paths, metrics)
        progress()
    return scores


def score_files(
    name: str, fused: Path, sources: Mapping[str, Path], metrics: Sequence[Metric]
) -> list[Score]:
    """Score one file against its sources.

    Raises:
        FusionkitError: if the sizes differ or a file can't be read.
    """
    image = read_image(fused)
    images = {modality: read_image(path) for modality, path in sources.items()}
    for modality, other in images.items():
        if other.shape[:2] != image.shape[:2]:
            raise FusionkitError(
                f"{fused} has {image.shape[0]}x{image.shape[1]} pixels, its source "
                f"{sources[modality]} has {other.shape[0]}x{other.shape[1]}; "
                f"they must have one size"
            )
    return [
        Score(name, metric.name, value)
        for metric, value in zip(metrics, score_arrays(image, images, metrics), strict=True)
    ]


def score_arrays(
    fused: NDArray[Any], sources: Mapping[str, NDArray[Any]], metrics: Sequence[Metric]
) -> list[float]:
    """Score one image of the size of its sources, made grey as each metric's profile does."""
    grey: dict[str, tuple[torch.Tensor, dict[str, torch.Tensor]]] = {}
    values = []
    for metric in metrics:
        if metric.grey not in grey:
            tensors = {name: grey_tensor(image, metric.grey) for name, image in sources.items()}
            grey[metric.grey] = grey_tensor(fused, metric.grey), tensors
        values.append(float(metric(*grey[metric.grey])[0]))
    return values


def compare_profiles(
    registry: Registry,
    fused: Path,
    sources: Mapping[str, Path],
    progress: Callable[[], None] = lambda: None,
) -> tuple[dict[str, list[Score]], list[str]]:
    """Score a folder under every profile that there is.

    Args:
        registry: Of the metrics.
        fused: Folder of fused images.
        sources: Modality name -> folder.
        progress: Called after each image of each profile.

    Returns:
        Profile -> scores, and a line for each metric that refused the images and was left out.
    """
    classes: list[Any] = [entry.cls for entry in registry if entry.cls.kind == "metric"]
    found: dict[str, list[Score]] = {}
    notes = []
    for profile in dict.fromkeys(p for cls in classes for p in cls.profiles):
        metrics = [
            _metric(registry, cls.name, profile) for cls in classes if profile in cls.profiles
        ]
        found[profile] = []
        for metric in metrics:
            try:
                found[profile] += score_folders(fused, sources, [metric])
            except FusionkitError as error:
                if not metric.by_default:
                    notes.append(f"{profile}: {metric.name} left out: {error}")
                    continue
                raise
            progress()
    return found, notes


def means(scores: Sequence[Score]) -> dict[str, tuple[float, float]]:
    """Return metric -> (mean, standard deviation over the images, n - 1)."""
    values: dict[str, list[float]] = {}
    for score in scores:
        values.setdefault(score.metric, []).append(score.value)
    result = {}
    for metric, found in values.items():
        mean = math.fsum(found) / len(found)
        spread = math.fsum((v - mean) ** 2 for v in found) / max(1, len(found) - 1)
        result[metric] = (mean, math.sqrt(spread))
    return result


def to_csv(scores: Sequence[Score]) -> str:
    """Return the scores as CSV with the columns image, metric, value."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "metric", "value"])
    writer.writerows((s.image, s.metric, repr(s.value)) for s in scores)
    return text.getvalue()


def metrics_of(
    registry: Registry, profile: str, names: Sequence[str] | None = None
) -> list[Metric]:
    """Build the metrics of a profile, all or those named.

    Raises:
        FusionkitError: for an unknown metric or profile.
    """
    classes: dict[str, Any] = {
        entry.cls.name: entry.cls for entry in registry if entry.cls.kind == "metric"
    }
    profiles = sorted({p for cls in classes.values() for p in cls.profiles})
    if profile not in profiles:
        raise FusionkitError(
            f"no metric profile is called {profile!r} (there are: {', '.join(profiles) or 'none'})"
            + nearest(profile, profiles)
            + registry.hint
        )
    there = [name for name, cls in classes.items() if profile in cls.profiles]
    for name in names or ():
        if name not in there:
            raise FusionkitError(
                f"the profile {profile!r} has no metric {name!r} (it has: {', '.join(there)})"
                + nearest(name, there)
                + registry.hint
            )
    return [
        _metric(registry, name, profile)
        for name in names or [name for name in there if classes[name].by_default]
    ]


def installed_metrics(profile: str, names: Sequence[str] | None = None) -> list[Metric]:
    """Build the installed metrics of a profile, all or those named.

    Raises:
        FusionkitError: for an unknown metric or profile.

    Example:
        >>> [metric.name for metric in installed_metrics("cddfuse", ["EN", "VIF"])]
        ['EN', 'VIF']
    """
    return metrics_of(load_installed_plugins().registry, profile, names)


def _metric(registry: Registry, name: str, profile: str) -> Metric:
    """Build a metric by profile; one that follows a single profile need not take it."""
    takes = parameters_of(registry.get("metric", name).cls)
    arguments = {"profile": profile} if "profile" in takes else {}
    return registry.build(make_spec(registry, "metric", name, arguments))


def grey_tensor(image: NDArray[Any], how: Literal["opencv", "matlab"] = "opencv") -> torch.Tensor:
    """Return an image as (1, 1, h, w) grey float32 in [0, 1]; 8-bit colour rounded as ``how``."""
    if image.ndim == 3 and image.dtype == np.uint8:
        image = grey_u8(image, how)
    values = torch.from_numpy(to_float(np.ascontiguousarray(image)))
    if values.ndim == 3:
        values = values @ torch.tensor([0.299, 0.587, 0.114])
    return values[None, None]


def as_saved(image: torch.Tensor) -> torch.Tensor:
    """Return a source (1, h, w) as the 8-bit image (1, 1, h, w) that metrics are defined on."""
    return ((image * 255).round() / 255)[None]
