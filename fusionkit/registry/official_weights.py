"""Converts published checkpoints to safetensors that rebuild their own network."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch

from fusionkit.errors import FusionkitError, nearest
from fusionkit.registry.arguments import make_spec
from fusionkit.registry.plugins import Plugins
from fusionkit.registry.weights import load_state, save_weights

__all__ = ["convert_official"]


def convert_official(source: Path, target: Path, network: str, plugins: Plugins) -> str:
    """Convert one ``.pth`` file. It reads tensors only and never runs code from the file.

    Args:
        source: State dict, also one saved from ``DataParallel`` (keys that begin with ``module.``).
        target: A ``.safetensors`` file to write.
        network: Name of official weights that a plugin announces.
        plugins: The loaded plugins.

    Returns:
        Kind and name of the component.

    Raises:
        FusionkitError: if no plugin announces the network, or if the file is not a state dict or
            belongs to another network.

    Example:
        >>> import tempfile
        >>> import fusionkit as fk
        >>> from fusionkit.interfaces import OfficialWeights
        >>> from fusionkit.registry.plugins import load_plugins
        >>> arguments = {"channels": (8, 8), "modalities": ("infrared", "visible")}
        >>> small = OfficialWeights("small", "backbone", "ufuser", arguments)
        >>> plugins = load_plugins()
        >>> plugins.official_weights["small"] = small
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     source, target = Path(folder, "small.pth"), Path(folder, "small.safetensors")
        ...     torch.save(fk.build("backbone", name="ufuser", **arguments).state_dict(), source)
        ...     convert_official(source, target, "small", plugins)
        'backbone ufuser'
    """
    known = plugins.official_weights
    if network not in known:
        names = ", ".join(sorted(known)) or "none: no installed plugin announces official weights"
        raise FusionkitError(
            f"--as: expected the name of official weights ({names}), found {network!r}"
            + nearest(network, known)
            + plugins.registry.hint
        )
    official = known[network]
    if target.suffix != ".safetensors":
        raise FusionkitError(f"the output must be a .safetensors file, found {target}")
    if not source.is_file():
        raise FusionkitError(f"there is no file {source}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols of files that are refused
            state = torch.load(source, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        first = str(error).strip().partition("\n")[0]
        raise FusionkitError(f"{source} is no PyTorch state dict: {first}") from None
    if not isinstance(state, Mapping) or not all(
        isinstance(value, torch.Tensor) for value in state.values()
    ):
        raise FusionkitError(f"{source} holds no plain state dict of tensors")
    renamed: dict[str, torch.Tensor] = {}
    for key, value in state.items():
        new = official.rename_key(key.removeprefix("module."))
        if new in renamed:
            raise FusionkitError(
                f"official weights {network!r}: the plugin maps two keys of {source} to {new!r}"
            )
        renamed[new] = value
    registry = plugins.registry
    spec = make_spec(registry, official.kind, official.component, official.arguments)
    component = registry.build(spec)
    load_state(component, renamed, str(source))
    save_weights(component, target)
    return f"{spec.kind} {spec.name}"
