"""EMMA (CVPR 2024) as plugins: U-Fuser, pseudo-sensors, transform groups, losses, recipes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from fusionkit import hookimpl

if TYPE_CHECKING:
    from fusionkit.interfaces import Component, OfficialWeights


@hookimpl
def fusionkit_components() -> Iterable[type[Component]]:
    """Return the components of EMMA's recipes."""
    from fusionkit_emma.distances import L1, SSIM, L1Sobel
    from fusionkit_emma.losses import Equivariance, Sensing
    from fusionkit_emma.train_backbone import TrainBackbone
    from fusionkit_emma.train_sensors import TrainSensors
    from fusionkit_emma.transforms import Dihedral, Reflect, Rotate, Shift
    from fusionkit_emma.ufuser import UFuser
    from fusionkit_emma.unet import UNet

    return [
        UFuser,
        UNet,
        Shift,
        Rotate,
        Reflect,
        Dihedral,
        Sensing,
        Equivariance,
        L1,
        L1Sobel,
        SSIM,
        TrainSensors,
        TrainBackbone,
    ]


@hookimpl
def fusionkit_recipes() -> Iterable[Path]:
    """Return the recipes in the folder of this module."""
    return sorted((Path(__file__).parent / "recipes").glob("*.yaml"))


@hookimpl
def fusionkit_official_weights() -> Iterable[OfficialWeights]:
    """Return the networks of the official code, under its names."""
    from fusionkit.interfaces import OfficialWeights

    return [
        OfficialWeights("ufuser", kind="backbone", component="ufuser"),
        OfficialWeights("unet5", kind="sensor", component="unet"),
    ]
