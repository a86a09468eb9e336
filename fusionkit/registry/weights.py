"""Weights files (safetensors) whose metadata rebuilds the network they belong to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from fusionkit.errors import FusionkitError
from fusionkit.interfaces import Backbone, Component, Sensor
from fusionkit.io.atomic_write import atomic_write
from fusionkit.registry.arguments import make_spec
from fusionkit.registry.components import Registry

__all__ = ["load_weights", "read_header", "save_weights"]

FORMAT = "fusionkit-1"


def save_weights(
    component: Component, path: Path, state: dict[str, torch.Tensor] | None = None
) -> None:
    """Save the weights of a component with the configuration that rebuilds it.

    Args:
        component: A module that the registry built. Of a faster form the exact form is saved.
        path: The ``.safetensors`` file to write.
        state: State dict to save instead of the component's own, such as a moving average.

    Raises:
        FusionkitError: if the component was not built by name.

    Example:
        >>> import tempfile
        >>> import fusionkit as fk
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "average.safetensors"
        ...     save_weights(fk.build("backbone", name="average"), path)
        ...     read_header(path)
        ('backbone', {'name': 'average'})
    """
    if isinstance(component, Backbone | Sensor):
        component = component.exact_form()
    if component.spec is None or not isinstance(component, nn.Module):
        raise FusionkitError(
            f"{type(component).__name__} was not built by name (fusionkit.build), "
            f"so its file could not rebuild it"
        )
    metadata = {
        "format": FORMAT,
        "kind": component.spec.kind,
        "component": json.dumps(component.spec.to_dict()),
    }
    tensors = {
        key: tensor.detach().cpu().contiguous().clone()
        for key, tensor in (state or component.state_dict()).items()
    }
    with atomic_write(path) as temporary:
        save_file(tensors, temporary, metadata)


def read_header(path: Path) -> tuple[str, dict[str, Any]]:
    """Return the kind and the ``{name: ..., argument: ...}`` of the component in a weights file.

    Raises:
        FusionkitError: if the file does not exist or is not a weights file of fusionkit.

    Example:
        >>> from fusionkit.registry.plugins import load_installed_plugins
        >>> kind, values = read_header(load_installed_plugins().models["emma-ir-vis"].path)
        >>> kind, values["name"]
        ('backbone', 'ufuser')
    """
    if not path.is_file():
        raise FusionkitError(f"the weights file {path} does not exist")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise FusionkitError(f"{path} is no safetensors file: {error}") from None
    if metadata.get("format") != FORMAT:
        raise FusionkitError(
            f"{path} does not say which network it belongs to (format "
            f"{metadata.get('format')!r}, expected {FORMAT!r}); "
            f"for an official .pth use: fusionkit convert"
        )
    return metadata["kind"], json.loads(metadata["component"])


def load_weights(path: Path, registry: Registry) -> Any:
    """Rebuild a component from its weights file, in eval mode on the CPU.

    Raises:
        FusionkitError: if the file is not a weights file of fusionkit, if its component is not
            installed, or if the tensors do not fit the component.

    Example:
        >>> from fusionkit.registry.plugins import load_installed_plugins
        >>> plugins = load_installed_plugins()
        >>> load_weights(plugins.models["emma-ir-vis"].path, plugins.registry).name
        'ufuser'
    """
    kind, values = read_header(path)
    arguments = dict(values)
    # Without warnings: whoever loads weights can't change what an earlier release wrote there.
    spec = make_spec(registry, kind, arguments.pop("name"), arguments, warn=False)
    component = registry.build(spec)
    with safe_open(path, "pt") as file:
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    load_state(component, state, str(path))
    return component.eval()


def load_state(module: nn.Module, state: dict[str, torch.Tensor], source: str) -> None:
    """Load a state dict into a module.

    Raises:
        FusionkitError: if a name or shape does not match.
    """
    expected = module.state_dict()
    problems = [f"{key} is missing" for key in expected.keys() - state.keys()]
    problems += [f"{key} is not part of the network" for key in state.keys() - expected.keys()]
    problems += [
        f"{key} has shape {tuple(state[key].shape)}, expected {tuple(expected[key].shape)}"
        for key in expected.keys() & state.keys()
        if state[key].shape != expected[key].shape
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise FusionkitError(
            f"the weights in {source} do not fit {type(module).__name__}: "
            + "; ".join(sorted(problems)[:3])
            + more
        )
    module.load_state_dict(state)
