"""Official EMMA checkpoints to safetensors that rebuild their own network."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch

from fusionkit.errors import FusionkitError, nearest
from fusionkit.registry.arguments import make_spec
from fusionkit.registry.plugins import load_installed_plugins
from fusionkit.registry.weights import load_state, save_weights

__all__ = ["convert_official"]

OFFICIAL = {"ufuser": ("backbone", "ufuser"), "unet5": ("sensor", "unet")}
"""Name of the official network -> kind and name of our component with its official sizes."""


def convert_official(source: Path, target: Path, network: str) -> str:
    """Convert one ``.pth`` file; reads tensors only, never code.

    Args:
        source: State dict, also one saved from ``DataParallel`` (keys that begin with ``module.``).
        target: A ``.safetensors`` file to write.
        network: ``ufuser`` or ``unet5``.

    Returns:
        Kind and name of the component.

    Raises:
        FusionkitError: if the file is no state dict, or one of another network.
    """
    if network not in OFFICIAL:
        raise FusionkitError(
            f"--as takes {' or '.join(OFFICIAL)}, found {network!r}" + nearest(network, OFFICIAL)
        )
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
    plain = {key.removeprefix("module."): value for key, value in state.items()}
    kind, name = OFFICIAL[network]
    registry = load_installed_plugins().registry
    component = registry.build(make_spec(registry, kind, name, {}))
    load_state(component, plain, str(source))
    save_weights(component, target)
    return f"{kind} {name}"
