"""Classic fusion methods that need no training, and fused images read from a folder.

Use them as baselines, or as teachers for EMMA.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from fusionkit import hookimpl

if TYPE_CHECKING:
    from fusionkit.interfaces import Component


@hookimpl
def fusionkit_components() -> Iterable[type[Component]]:
    """Return the classic fusion methods and the folder of fused images."""
    from fusionkit_classic.folder import Folder
    from fusionkit_classic.guided import GuidedFilter
    from fusionkit_classic.pointwise import Average, Max
    from fusionkit_classic.pyramid import LaplacianPyramid
    from fusionkit_classic.saliency import Saliency
    from fusionkit_classic.wavelet import Wavelet

    return [Average, Max, LaplacianPyramid, Wavelet, GuidedFilter, Saliency, Folder]
