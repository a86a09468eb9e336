"""Transform groups of DeepInverse (deepinv.transform) for the equivariance loss."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from fusionkit import hookimpl

if TYPE_CHECKING:
    from fusionkit.interfaces import Component

FUSIONKIT_API = 1


@hookimpl
def fusionkit_components() -> Iterable[type[Component]]:
    """Return the groups; building one imports deepinv."""
    from fusionkit_deepinv.diffeomorphism import Diffeomorphism
    from fusionkit_deepinv.moves import Reflect, Rotate, Shift
    from fusionkit_deepinv.projective import (
        Affine,
        Euclidean,
        Homography,
        PanTiltRotate,
        Similarity,
    )
    from fusionkit_deepinv.scale import Scale

    return [
        Shift,
        Rotate,
        Reflect,
        Scale,
        Euclidean,
        Similarity,
        Affine,
        PanTiltRotate,
        Homography,
        Diffeomorphism,
    ]
