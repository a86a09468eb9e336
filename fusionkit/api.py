"""The Python interface beside the command line: build, load, save, evaluate."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fusionkit.arguments import make_spec
from fusionkit.errors import FusionkitError, nearest
from fusionkit.functional.colour import grey_u8
from fusionkit.images import to_float
from fusionkit.interfaces import Backbone, Component, Metric
from fusionkit.plugins import Plugins, load_plugins
from fusionkit.weights import load_weights, save_weights

__all__ = ["build", "evaluate", "grey_tensor", "installed", "load", "metrics_of", "save"]


@functools.cache
def installed() -> Plugins:
    """Return what the installed plugins bring, loaded once per process."""
    return load_plugins()


def build(kind: str, *, name: str, **arguments: Any) -> Any:
    """Build any component by kind and name.

    Args:
        kind: ``backbone``, ``sensor``, ``loss``, ...
        name: Its name, as in a configuration.
        **arguments: Its arguments, as in a configuration; validated.

    Raises:
        FusionkitError: if there is no such component, or an argument is wrong.

    Example:
        >>> build("backbone", name="average").name
        'average'
    """
    registry = installed().registry
    return registry.build(make_spec(registry, kind, name, arguments))


def load(path: str | Path) -> Backbone:
    """Return the trained backbone of a run folder or of a ``.safetensors`` file, in eval mode.

    Raises:
        FusionkitError: if there is none, or its plugin is not installed.
    """
    path = Path(path)
    if path.is_dir():
        file = path / "checkpoints" / "backbone.safetensors"
        if not file.is_file():
            raise FusionkitError(
                f"{path} holds no trained backbone ({file.relative_to(path)} is missing); "
                f"has its train-backbone stage finished?"
            )
        path = file
    component = load_weights(path, installed().registry)
    if not isinstance(component, Backbone):
        raise FusionkitError(f"{path} holds a {component.kind}, not a backbone")
    return component


def save(component: Component, path: str | Path) -> None:
    """Save a built component as safetensors that ``load`` rebuilds it from."""
    save_weights(component, Path(path))


def evaluate(
    fused: np.ndarray,
    sources: Mapping[str, np.ndarray],
    *,
    profile: str = "cddfuse",
    metrics: Sequence[str] | None = None,
) -> dict[str, float]:
    """Score one fused image against its sources.

    Args:
        fused: (h, w) or (h, w, 3); 8 or 16 bit, or float in [0, 1]. Colour is converted to grey
            as OpenCV does; scored is its 8-bit version.
        sources: Modality name -> image of the same size.
        profile: Whose conventions, see the table of profiles in the documentation.
        metrics: Names; all that are defined in the profile if not given.

    Returns:
        Metric name -> value.

    Raises:
        FusionkitError: for an unknown metric or profile, or sizes that differ.
    """
    tensors = {name: grey_tensor(image) for name, image in sources.items()}
    scored = grey_tensor(fused)
    for name, tensor in tensors.items():
        if tensor.shape != scored.shape:
            raise FusionkitError(
                f"the fused image has {_size(scored)} pixels, the source {name!r} has "
                f"{_size(tensor)}; they must have one size"
            )
    return {m.name: float(m(scored, tensors)[0]) for m in metrics_of(profile, metrics)}


def metrics_of(profile: str, names: Sequence[str] | None = None) -> list[Metric]:
    """Build the metrics of a profile, all or those named.

    Raises:
        FusionkitError: for an unknown metric or profile.
    """
    registry = installed().registry
    classes = {entry.cls.name: entry.cls for entry in registry if entry.cls.kind == "metric"}
    profiles = sorted({p for cls in classes.values() for p in cls.profiles})  # type: ignore[attr-defined]
    if profile not in profiles:
        raise FusionkitError(
            f"no metric profile is called {profile!r} (there are: {', '.join(profiles) or 'none'})"
            + nearest(profile, profiles)
        )
    there = [n for n, cls in classes.items() if profile in cls.profiles]  # type: ignore[attr-defined]
    for name in names or ():
        if name not in there:
            raise FusionkitError(
                f"the profile {profile!r} has no metric {name!r} (it has: {', '.join(there)})"
                + nearest(name, there)
            )
    return [
        registry.build(make_spec(registry, "metric", name, {"profile": profile}))
        for name in names or there
    ]


def grey_tensor(image: np.ndarray) -> torch.Tensor:
    """Return an image as (1, 1, h, w) grey float32 in [0, 1]; 8-bit colour rounded as OpenCV."""
    if image.ndim == 3 and image.dtype == np.uint8:
        image = grey_u8(image)
    values = torch.from_numpy(np.ascontiguousarray(to_float(image)))
    if values.ndim == 3:
        weights = torch.tensor([0.299, 0.587, 0.114])
        values = values @ weights
    return values[None, None]


def _size(x: torch.Tensor) -> str:
    return f"{x.shape[-2]}x{x.shape[-1]}"
