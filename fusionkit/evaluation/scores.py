"""Scores of fused images against their sources: arrays, files and folders."""

from __future__ import annotations

import logging
import math
from array import array
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from fusionkit.errors import FusionkitError, nearest
from fusionkit.functional.colour import grey_u8
from fusionkit.inference.engines import Engine, LocalEngine, ordered
from fusionkit.inference.failures import Failure
from fusionkit.inference.parallel import Turns
from fusionkit.interfaces import Metric
from fusionkit.io.csv_text import csv_text
from fusionkit.io.images import OpenedImage, list_images, open_image, to_float
from fusionkit.progress import Progress, SilentProgress
from fusionkit.registry.arguments import make_spec
from fusionkit.registry.components import Registry
from fusionkit.registry.plugins import load_installed_plugins
from fusionkit.registry.signatures import parameters_of

__all__ = [
    "ProfileComparison",
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
    "score_opened",
    "to_csv",
]


logger = logging.getLogger("fusionkit")


@dataclass(frozen=True)
class Score:
    """One value of one image; the columns of the CSV file.

    Attributes:
        image: File stem of the image.
        metric: Name of the metric.
        value: What the metric gives.
    """

    image: str
    metric: str
    value: float


def score_folders(
    fused: Path,
    sources: Mapping[str, Path],
    metrics: Sequence[Metric],
    progress: Progress | None = None,
    strict: bool = False,
    engine: Engine | None = None,
) -> Generator[list[Score] | Failure, None, None]:
    """Score every image of a folder against the sources of the same file stem.

    A few images are scored at a time, so that memory does not grow with the folder.

    Args:
        fused: Folder of fused images.
        sources: Modality name -> folder. Images without a fused image of their stem are ignored.
        metrics: The metrics to compute.
        progress: Receives a step for each image.
        strict: Whether to raise for the first image that can't be scored.
        engine: What scores the images; threads of this process by default.

    Yields:
        The scores of each image, or why it could not be scored, in the order of the names.

    Raises:
        FusionkitError: if a folder can't be read, no fused image has a source, or ``strict`` and
            an image can't be scored.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from fusionkit.io.images import write_image
        >>> from fusionkit.registry.plugins import load_installed_plugins
        >>> registry = load_installed_plugins().registry
        >>> image = np.arange(1024, dtype=np.uint8).reshape(32, 32)
        >>> with tempfile.TemporaryDirectory() as root:
        ...     folders = [Path(root, name) for name in ("fused", "infrared", "visible")]
        ...     for folder in folders:
        ...         folder.mkdir()
        ...         write_image(folder / "a.png", image)
        ...     sources = {folder.name: folder for folder in folders[1:]}
        ...     metrics = metrics_of(registry, "cddfuse", ["EN"])
        ...     [scores] = score_folders(folders[0], sources, metrics)
        >>> scores[0].image, scores[0].metric, scores[0].value
        ('a', 'EN', 8.0)
    """
    for [result] in _score_folders(fused, sources, [metrics], progress, strict, engine):
        yield result


def _score_folders(
    fused: Path,
    sources: Mapping[str, Path],
    groups: Sequence[Sequence[Metric]],
    progress: Progress | None,
    strict: bool,
    engine: Engine | None,
    optional: Sequence[Sequence[Metric]] = (),
) -> Iterator[list[list[Score] | Failure]]:
    """Read every image once, and score it by groups of metrics, which fail one by one.

    ``strict`` does not hold for the optional groups, whose results come last.
    """
    progress = progress or SilentProgress()
    images = list_images(fused)
    folders = {modality: list_images(folder) for modality, folder in sources.items()}
    for modality, found in folders.items():
        if images and not images.keys() & found.keys():
            raise FusionkitError(
                f"expected {modality} images in {sources[modality]} with the names of the fused "
                f"images in {fused}, found none (fused: {', '.join(list(images)[:5])}; "
                f"{modality}: {', '.join(list(found)[:5]) or 'no image'})"
            )
    items = [
        _Images(stem, path, {m: found[stem] for m, found in folders.items() if stem in found})
        for stem, path in images.items()
    ]
    job = _ScoreJob([*groups, *optional], sources)
    shared = items[0].files if items else ()
    results = (engine or LocalEngine()).run(job, items, shared=shared, lost=job.all_failed)
    with closing(results):
        for result in ordered(results):
            for failure in result[: len(groups)]:
                if strict and isinstance(failure, Failure):
                    raise FusionkitError(f"{failure.files[0]} was not scored: {failure.reason}")
            yield result
            progress.step()


@dataclass(frozen=True)
class _Images:
    """A fused image and those of its sources that exist."""

    stem: str
    fused: Path
    sources: Mapping[str, Path]

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.fused, *self.sources.values())


@dataclass(frozen=True)
class _ScoreJob:
    """What scores images in any process; see ``_score_folders``."""

    groups: Sequence[Sequence[Metric]]
    folders: Mapping[str, Path]

    def __call__(self, threads: int) -> Callable[[_Images], list[list[Score] | Failure]]:
        turns = Turns()

        def score(images: _Images) -> list[list[Score] | Failure]:
            try:
                pixels = self._read(images)
            except Exception as error:  # one bad image must not stop the others
                return self.all_failed(images, _reason(images, error))
            with turns.take(alone=False):
                return [_score(images, *pixels, group) for group in self.groups]

        return score

    def all_failed(self, images: _Images, reason: str) -> list[list[Score] | Failure]:
        """Return the same failure for each group."""
        return [Failure(images.stem, images.files, reason)] * len(self.groups)

    def _read(self, images: _Images) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
        for modality, folder in self.folders.items():
            if modality not in images.sources:
                raise FusionkitError(f"{images.fused} has no {modality} source in {folder}")
        opened = {modality: open_image(path) for modality, path in images.sources.items()}
        return _read_pixels(open_image(images.fused), opened)


def _score(
    images: _Images,
    fused: NDArray[Any],
    sources: Mapping[str, NDArray[Any]],
    metrics: Sequence[Metric],
) -> list[Score] | Failure:
    try:
        values = score_arrays(fused, sources, metrics)
    except Exception as error:
        return Failure(images.stem, images.files, _reason(images, error))
    return [Score(images.stem, m.name, value) for m, value in zip(metrics, values, strict=True)]


def _reason(images: _Images, error: Exception) -> str:
    if isinstance(error, FusionkitError):
        return str(error)
    logger.debug("%s could not be scored", images.stem, exc_info=True)
    return f"{type(error).__name__}: {error}"


def score_files(
    name: str, fused: Path, sources: Mapping[str, Path], metrics: Sequence[Metric]
) -> list[Score]:
    """Score one file against its sources.

    Args:
        name: What the scores call the image.
        fused: File of the fused image.
        sources: Modality name -> file.
        metrics: The metrics to compute.

    Raises:
        FusionkitError: if the sizes differ or a file can't be read.

    Example:
        >>> import tempfile
        >>> from fusionkit.io.images import write_image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "a.png")
        ...     write_image(path, np.tile(np.arange(256, dtype=np.uint8), (64, 1)))
        ...     score_files("a", path, {"visible": path}, installed_metrics("cddfuse", ["EN"]))
        [Score(image='a', metric='EN', value=8.0)]
    """
    opened = {modality: open_image(path) for modality, path in sources.items()}
    values = score_opened(open_image(fused), opened, metrics)
    return [Score(name, metric.name, value) for metric, value in zip(metrics, values, strict=True)]


def score_opened(
    fused: OpenedImage, sources: Mapping[str, OpenedImage], metrics: Sequence[Metric]
) -> list[float]:
    """Score one image; the sizes are compared before any pixel is read.

    Args:
        fused: The fused image.
        sources: Modality name -> image.
        metrics: The metrics to compute.

    Returns:
        A value for each metric, in their order.

    Raises:
        FusionkitError: if the sizes differ or a file can't be read.

    Example:
        >>> image = open_image(np.tile(np.arange(256, dtype=np.uint8), (64, 1)))
        >>> score_opened(image, {"visible": image}, installed_metrics("cddfuse", ["EN"]))
        [8.0]
    """
    return score_arrays(*_read_pixels(fused, sources), metrics)


def _read_pixels(
    fused: OpenedImage, sources: Mapping[str, OpenedImage]
) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
    for modality, source in sources.items():
        if source.size != fused.size:
            raise FusionkitError(
                f"{source.name}: expected a {modality} source with the size of {fused.name}, "
                f"{fused.size[0]}x{fused.size[1]} pixels, found {source.size[0]}x"
                f"{source.size[1]}; give images of one size"
            )
    pixels = {modality: source.read() for modality, source in sources.items()}
    return fused.read(), pixels


def score_arrays(
    fused: NDArray[Any], sources: Mapping[str, NDArray[Any]], metrics: Sequence[Metric]
) -> list[float]:
    """Score one image.

    Args:
        fused: (h, w) or (h, w, 3); uint8, uint16, or float in [0, 1]. Colour is converted to grey
            as the profile of each metric does.
        sources: Modality name -> image of the same size.
        metrics: The metrics to compute.

    Returns:
        A value for each metric, in their order.

    Example:
        >>> image = np.tile(np.arange(256, dtype=np.uint8), (64, 1))
        >>> sources = {"infrared": image, "visible": image}
        >>> score_arrays(image, sources, installed_metrics("cddfuse", ["EN", "CC"]))
        [8.0, 1.0]
    """
    grey: dict[str, tuple[torch.Tensor, dict[str, torch.Tensor]]] = {}
    values = []
    for metric in metrics:
        if metric.grey not in grey:
            tensors = {name: grey_tensor(image, metric.grey) for name, image in sources.items()}
            grey[metric.grey] = grey_tensor(fused, metric.grey), tensors
        values.append(float(metric(*grey[metric.grey])[0]))
    return values


@dataclass(frozen=True)
class ProfileComparison:
    """The scores of a folder under every profile.

    Attributes:
        scores: Profile -> scores.
        notes: A line for each metric that was left out because it refuses the images.
        failures: Images that could not be scored.
    """

    scores: Mapping[str, list[Score]]
    notes: Sequence[str]
    failures: Sequence[Failure]


def compare_profiles(
    registry: Registry,
    fused: Path,
    sources: Mapping[str, Path],
    strict: bool = False,
    *,
    progress: Progress | None = None,
    engine: Engine | None = None,
) -> ProfileComparison:
    """Score a folder under every profile that an installed metric is defined in.

    Args:
        registry: The installed components.
        fused: Folder of fused images.
        sources: Modality name -> folder.
        strict: Whether to raise for the first image that can't be scored.
        progress: Receives a step for each image.
        engine: See ``score_folders``.

    Raises:
        FusionkitError: if a folder can't be read, no fused image has a source, or ``strict`` and
            an image can't be scored.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from fusionkit.io.images import write_image
        >>> from fusionkit.registry.plugins import load_installed_plugins
        >>> registry = load_installed_plugins().registry
        >>> image = np.arange(1024, dtype=np.uint8).reshape(32, 32)
        >>> with tempfile.TemporaryDirectory() as root:
        ...     folders = [Path(root, name) for name in ("fused", "infrared", "visible")]
        ...     for folder in folders:
        ...         folder.mkdir()
        ...         write_image(folder / "a.png", image)
        ...     sources = {folder.name: folder for folder in folders[1:]}
        ...     comparison = compare_profiles(registry, folders[0], sources)
        >>> "cddfuse" in comparison.scores
        True
    """
    classes: list[Any] = [entry.cls for entry in registry if entry.cls.kind == "metric"]
    profiles = list(dict.fromkeys(p for cls in classes for p in cls.profiles))
    groups = [
        [
            _metric(registry, cls.name, profile)
            for cls in classes
            if profile in cls.profiles and cls.by_default
        ]
        for profile in profiles
    ]
    # A metric that refuses common sizes must not take the others with it.
    alone = [
        (profile, cls.name)
        for profile in profiles
        for cls in classes
        if profile in cls.profiles and not cls.by_default
    ]
    optional = [[_metric(registry, name, profile)] for profile, name in alone]
    scores: dict[str, list[Score]] = {profile: [] for profile in profiles}
    failures: dict[str, Failure] = {}
    own: list[list[list[Score] | Failure]] = [[] for _ in alone]
    for results in _score_folders(fused, sources, groups, progress, strict, engine, optional):
        for profile, result in zip(profiles, results[: len(profiles)], strict=True):
            if isinstance(result, Failure):
                failures[result.id] = result
            else:
                scores[profile] += result
        for found, result in zip(own, results[len(profiles) :], strict=True):
            found.append(result)
    notes = []
    for (profile, name), found in zip(alone, own, strict=True):
        refused = [r for r in found if isinstance(r, Failure) and r.id not in failures]
        if refused:
            notes.append(f"{profile}: {name} left out: {refused[0].reason}")
        else:
            scores[profile] += [s for r in found if not isinstance(r, Failure) for s in r]
    return ProfileComparison(scores, notes, list(failures.values()))


def means(scores: Iterable[Score]) -> dict[str, tuple[float, float]]:
    """Return metric -> (mean, sample standard deviation over the images).

    Example:
        >>> means([Score("a", "EN", 6.0), Score("b", "EN", 8.0)])
        {'EN': (7.0, 1.4142135623730951)}
    """
    values: dict[str, array[float]] = {}
    for score in scores:
        values.setdefault(score.metric, array("d")).append(score.value)
    result = {}
    for metric, found in values.items():
        mean = math.fsum(found) / len(found)
        spread = math.fsum((v - mean) ** 2 for v in found) / max(1, len(found) - 1)
        result[metric] = (mean, math.sqrt(spread))
    return result


def to_csv(scores: Sequence[Score], *, header: bool = True) -> str:
    """Return the scores as CSV with the columns image, metric, value.

    Args:
        scores: The rows.
        header: Whether the names of the columns come first.

    Example:
        >>> print(to_csv([Score("a", "EN", 6.5)]), end="")
        image,metric,value
        a,EN,6.5
    """
    columns = [("image", "metric", "value")] if header else []
    return csv_text([*columns, *((s.image, s.metric, s.value) for s in scores)])


def metrics_of(
    registry: Registry, profile: str, names: Sequence[str] | None = None
) -> list[Metric]:
    """Build the metrics of a profile: those named, or all of them.

    Args:
        registry: The installed components.
        profile: Name of the profile.
        names: Names of metrics; by default all of the profile that do not opt out
            (``Metric.by_default``).

    Raises:
        FusionkitError: for an unknown metric or profile.

    Example:
        >>> registry = load_installed_plugins().registry
        >>> [metric.name for metric in metrics_of(registry, "cddfuse", ["EN", "SF"])]
        ['EN', 'SF']
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
    defined = [name for name, cls in classes.items() if profile in cls.profiles]
    for name in names or ():
        if name not in defined:
            raise FusionkitError(
                f"the profile {profile!r} has no metric {name!r} (it has: {', '.join(defined)})"
                + nearest(name, defined)
                + registry.hint
            )
    return [
        _metric(registry, name, profile)
        for name in names or [name for name in defined if classes[name].by_default]
    ]


def installed_metrics(profile: str, names: Sequence[str] | None = None) -> list[Metric]:
    """Build the installed metrics of a profile: those named, or all of them.

    Raises:
        FusionkitError: for an unknown metric or profile.

    Example:
        >>> [metric.name for metric in installed_metrics("cddfuse", ["EN", "VIF"])]
        ['EN', 'VIF']
    """
    return metrics_of(load_installed_plugins().registry, profile, names)


def _metric(registry: Registry, name: str, profile: str) -> Metric:
    """Build a metric; one that is defined in a single profile need not take it as an argument."""
    takes = parameters_of(registry.get("metric", name).cls)
    arguments = {"profile": profile} if "profile" in takes else {}
    return registry.build(make_spec(registry, "metric", name, arguments))


def grey_tensor(image: NDArray[Any], how: Literal["opencv", "matlab"] = "opencv") -> torch.Tensor:
    """Return an image as grey.

    Args:
        image: (h, w) or (h, w, 3); uint8, uint16, or float in [0, 1].
        how: Whose conversion of 8-bit colour to grey, and whose rounding.

    Returns:
        (1, 1, h, w) float32 in [0, 1].

    Example:
        >>> grey_tensor(np.full((2, 3), 255, np.uint8)).shape
        torch.Size([1, 1, 2, 3])
    """
    if image.ndim == 3 and image.dtype == np.uint8:
        image = grey_u8(image, how)
    values = torch.from_numpy(to_float(np.ascontiguousarray(image)))
    if values.ndim == 3:
        values = values @ torch.tensor([0.299, 0.587, 0.114])
    return values[None, None]


def as_saved(image: torch.Tensor) -> torch.Tensor:
    """Return the 8-bit version of an image, on which the metrics are defined.

    Args:
        image: (1, h, w) in [0, 1].

    Returns:
        (1, 1, h, w) in [0, 1], multiples of 1 / 255.

    Example:
        >>> as_saved(torch.tensor([[[0.5]]]))
        tensor([[[[0.5020]]]])
    """
    return ((image * 255).round() / 255)[None]
