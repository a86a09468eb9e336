"""What every run needs: image folders, metrics, and the stages after training."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from fusionkit import hookimpl

if TYPE_CHECKING:
    from fusionkit.interfaces import Component


@hookimpl
def fusionkit_components() -> Iterable[type[Component]]:
    """Data sets of pairs and their union, the metrics, the stages that follow training."""
    from fusionkit_standard.evaluate import Evaluate
    from fusionkit_standard.folders import PairedFolders
    from fusionkit_standard.fuse import Fuse
    from fusionkit_standard.fusion_metrics import FusionMetrics
    from fusionkit_standard.metrics import METRICS
    from fusionkit_standard.published import Harvard, RoadScene, Tno
    from fusionkit_standard.report import Report
    from fusionkit_standard.union import Union

    return [
        PairedFolders,
        Tno,
        RoadScene,
        Harvard,
        Union,
        *METRICS,
        Fuse,
        Evaluate,
        Report,
        FusionMetrics,
    ]


@hookimpl
def fusionkit_data() -> Iterable[Path]:
    """Return the cards of pairs without labels."""
    return sorted((Path(__file__).parent / "data").glob("*.yaml"))
