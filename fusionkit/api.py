"""The Python interface beside the command line: build, load, save, evaluate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fusionkit.errors import FusionkitError
from fusionkit.evaluation.scores import metrics_of, score_arrays
from fusionkit.interfaces import Backbone, Component
from fusionkit.registry.arguments import make_spec
from fusionkit.registry.model_cards import model_named
from fusionkit.registry.plugins import load_installed_plugins
from fusionkit.registry.weights import load_weights, save_weights

__all__ = ["build", "evaluate", "load", "save", "weights_of"]


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
    registry = load_installed_plugins().registry
    return registry.build(make_spec(registry, kind, name, arguments))


def load(path: str | Path) -> Backbone:
    """Return a trained backbone in eval mode.

    Args:
        path: A run folder, a ``.safetensors`` file, or the name of a model that a plugin ships.

    Raises:
        FusionkitError: if there is none, or its plugin is not installed.
    """
    file = weights_of(path)
    component = load_weights(file, load_installed_plugins().registry)
    if not isinstance(component, Backbone):
        raise FusionkitError(f"{file} holds a {component.kind}, not a backbone")
    return component


def weights_of(path: str | Path) -> Path:
    """Return the file with the weights that ``load`` would load.

    Raises:
        FusionkitError: if there is none.
    """
    path = Path(path)
    if not path.exists():
        if len(path.parts) > 1 or path.suffix:
            raise FusionkitError(f"there is no run folder or weights file {path}")
        plugins = load_installed_plugins()
        path = model_named(path.name, plugins.models, plugins.registry.hint).verify()
    if path.is_dir():
        file = path / "checkpoints" / "backbone.safetensors"
        if not file.is_file():
            raise FusionkitError(
                f"{path} holds no trained backbone ({file.relative_to(path)} is missing); "
                f"has the stage that trains it finished?"
            )
        return file
    return path


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
            as the profile does; scored is its 8-bit version.
        sources: Modality name -> image of the same size.
        profile: Whose conventions, see the table of profiles in the documentation.
        metrics: Names; all that are defined in the profile if not given.

    Returns:
        Metric name -> value.

    Raises:
        FusionkitError: for an unknown metric or profile, or sizes that differ.
    """
    for name, image in sources.items():
        if image.shape[:2] != fused.shape[:2]:
            raise FusionkitError(
                f"the fused image has {fused.shape[0]}x{fused.shape[1]} pixels, the source "
                f"{name!r} has {image.shape[0]}x{image.shape[1]}; they must have one size"
            )
    chosen = metrics_of(load_installed_plugins().registry, profile, metrics)
    values = score_arrays(fused, sources, chosen)
    return {metric.name: value for metric, value in zip(chosen, values, strict=True)}
