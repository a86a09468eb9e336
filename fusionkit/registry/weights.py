"""Weights files (safetensors) whose metadata rebuilds the network they belong to."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)

from fusionkit.errors import FusionkitError
from fusionkit.interfaces import KINDS, Backbone, Component, Sensor
from fusionkit.io.atomic_write import atomic_write
from fusionkit.registry.arguments import make_spec
from fusionkit.registry.components import ComponentSpec, Registry

__all__ = ["load_weights", "read_header", "save_weights"]

FORMAT = "fusionkit-1"


def save_weights(
    component: Component, path: Path, state: dict[str, torch.Tensor] | None = None
) -> None:
    """Save the weights of a component with the configuration that rebuilds it.

    Equal weights of an equal component give the same bytes.

    Args:
        component: A module that the registry built. Of a faster form the exact form is saved.
        path: The ``.safetensors`` file to write.
        state: State dict to save instead of the component's own, such as a moving average.

    Raises:
        FusionkitError: if the component was not built by name, or has weights that are NaN or
            infinite.

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
        "component": json.dumps(_without_downloads(component.spec.to_dict())),
    }
    tensors = {
        key: tensor.detach().cpu().contiguous().clone()
        for key, tensor in (state or component.state_dict()).items()
    }
    if unfit := _not_finite(tensors):
        raise FusionkitError(
            f"the weights of {component.spec.name} are not saved, because they hold NaN or "
            f"infinite values: {unfit}"
        )
    with atomic_write(path) as temporary:
        temporary.write_bytes(_sorted_header(save(tensors, metadata)))


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
    try:
        kind, values = metadata["kind"], json.loads(metadata["component"])
    except (KeyError, ValueError, RecursionError) as error:
        raise FusionkitError(
            f"{path} is damaged: its description of the network can't be read "
            f"({type(error).__name__})"
        ) from None
    if not isinstance(values, dict) or not isinstance(values.get("name"), str):
        raise FusionkitError(
            f"{path} is damaged: expected the name and the arguments of a network, found "
            f"{str(values)[:60]}"
        )
    return kind, values


def load_weights(path: Path, registry: Registry) -> Any:
    """Rebuild a component from its weights file, in eval mode on the CPU.

    The file may come from a stranger. It names an installed component and its arguments; whatever
    they say, ``pretrained`` is off, so that nothing is downloaded, and a network that is larger
    than the file is not built.

    Raises:
        FusionkitError: if the file is not a weights file of fusionkit, if its component is not
            installed, if the tensors do not fit the component, or if they hold anything but finite
            numbers.

    Example:
        >>> from fusionkit.registry.plugins import load_installed_plugins
        >>> plugins = load_installed_plugins()
        >>> load_weights(plugins.models["emma-ir-vis"].path, plugins.registry).name
        'ufuser'
    """
    kind, arguments = read_header(path)
    if kind not in KINDS or not issubclass(KINDS[kind], nn.Module):
        raise FusionkitError(f"{path}: expected the weights of a network, found a {kind[:60]}")
    arguments = _without_downloads(arguments)
    # Without warnings: whoever loads weights can't change what an earlier release wrote there.
    try:
        spec = make_spec(registry, kind, arguments.pop("name"), arguments, warn=False)
    except FusionkitError as error:
        raise FusionkitError(f"{path}: {error}") from None
    with safe_open(path, "pt") as file:
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    component = _build(spec, registry, state, path)
    load_state(component, state, str(path))
    return component.eval()


def _build(
    spec: ComponentSpec, registry: Registry, state: Mapping[str, torch.Tensor], path: Path
) -> Any:
    """Build the network of a file, which must not be larger than the file's tensors."""
    with _no_larger_than(state, path):
        try:
            return registry.build(spec)
        except FusionkitError:
            raise
        except Exception as error:  # the arguments come from the file, so anything may happen
            raise FusionkitError(
                f"{path}: its network {spec.name!r} can't be built "
                f"({type(error).__name__}: {str(error)[:200]})"
            ) from error


@contextmanager
def _no_larger_than(state: Mapping[str, torch.Tensor], path: Path) -> Iterator[None]:
    """Stop the building of modules that have far more or larger tensors than a state dict.

    PyTorch calls the hooks before it fills a parameter, so the memory of one that is too large is
    never touched.
    """
    thread = threading.get_ident()
    # Networks may make some tensors that they replace later.
    tensors, numbers = 2 * len(state) + 64, 2 * sum(x.numel() for x in state.values()) + (1 << 20)

    def count(module: nn.Module, name: str, tensor: torch.Tensor | None) -> None:
        nonlocal tensors, numbers
        if tensor is None or threading.get_ident() != thread:
            return
        tensors, numbers = tensors - 1, numbers - tensor.numel()
        if tensors < 0 or numbers < 0:
            raise FusionkitError(f"{path} is damaged: it describes a larger network than it holds")

    hooks = [
        register_module_parameter_registration_hook(count),
        register_module_buffer_registration_hook(count),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _without_downloads(value: Any) -> Any:
    """Return a copy of arguments in which nothing is ``pretrained``."""
    if isinstance(value, dict):
        found = {key: _without_downloads(part) for key, part in value.items()}
        return {**found, "pretrained": False} if "pretrained" in found else found
    return [_without_downloads(part) for part in value] if isinstance(value, list) else value


def _not_finite(state: Mapping[str, torch.Tensor]) -> str:
    """Return the names of tensors that hold NaN or infinity, at most three."""
    found = sorted(key for key, tensor in state.items() if not bool(tensor.isfinite().all()))
    return ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")


def _sorted_header(data: bytes) -> bytes:
    """Return a safetensors file with its metadata in the order of their names.

    The library writes them in another order each time. The format begins with the length of its
    JSON header, 8 bytes, little-endian; spaces fill the header up to a multiple of 8.
    """
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[end:]


def load_state(module: nn.Module, state: dict[str, torch.Tensor], source: str) -> None:
    """Load a state dict into a module.

    Raises:
        FusionkitError: if a name, a shape or a type does not match, or a value is NaN or infinite.
    """
    expected = module.state_dict()
    problems = [f"{key} is missing" for key in expected.keys() - state.keys()]
    problems += [f"{key} is not part of the network" for key in state.keys() - expected.keys()]
    problems += [
        f"{key} has shape {tuple(state[key].shape)}, expected {tuple(expected[key].shape)}"
        for key in expected.keys() & state.keys()
        if state[key].shape != expected[key].shape
    ]
    problems += [
        f"{key} is {_type(state[key])}, expected {_type(expected[key])}"
        for key in expected.keys() & state.keys()
        if _sort(state[key]) != _sort(expected[key])
    ]
    if unfit := _not_finite(state):
        problems.append(f"values that are NaN or infinite in {unfit}")
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise FusionkitError(
            f"the weights in {source} do not fit {type(module).__name__}: "
            + "; ".join(sorted(problems)[:3])
            + more
        )
    module.load_state_dict(state)


def _type(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _sort(tensor: torch.Tensor) -> tuple[bool, bool, bool]:
    """Return what kind of numbers a tensor holds, whatever their precision."""
    return tensor.is_floating_point(), tensor.is_complex(), tensor.dtype == torch.bool
