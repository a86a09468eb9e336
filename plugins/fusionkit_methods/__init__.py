"""Published fusion methods, implemented from their papers: networks, losses and recipes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from fusionkit import hookimpl

if TYPE_CHECKING:
    from fusionkit.interfaces import Component


@hookimpl
def fusionkit_components() -> Iterable[type[Component]]:
    """Return the backbones and losses of all methods."""
    from fusionkit_methods.cddfuse import CDDFuse, Decomposition
    from fusionkit_methods.densefuse import DenseFuse, Reconstruction
    from fusionkit_methods.seafusion import Content, SeAFusion
    from fusionkit_methods.swinfusion import Structure, SwinFusion
    from fusionkit_methods.u2fusion import InformationPreservation, U2Fusion

    return [
        DenseFuse,
        Reconstruction,
        U2Fusion,
        InformationPreservation,
        SeAFusion,
        Content,
        CDDFuse,
        Decomposition,
        SwinFusion,
        Structure,
    ]


@hookimpl
def fusionkit_recipes() -> Iterable[Path]:
    """Return the recipes, one for each method."""
    return sorted((Path(__file__).parent / "recipes").glob("*.yaml"))
