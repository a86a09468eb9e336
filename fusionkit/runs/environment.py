"""What a result may depend on besides its configuration."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["environment"]


def environment(fabric: Fabric | None = None) -> dict[str, Any]:
    """Return what a result may depend on: versions, machine, devices, command."""
    packages = ("fusionkit-mmif", "torch", "torchvision", "timm", "kornia", "lightning-fabric")
    versions = {}
    for package in (*packages, "numpy", "pillow", "pydantic"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    values: dict[str, Any] = {
        "versions": versions,
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())],
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
    }
    if fabric is not None:
        values["device"] = str(fabric.device)
        values["processes"] = fabric.world_size
    return values
