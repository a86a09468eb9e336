"""Fusion networks made of timm encoders and one of three decoders."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from fusionkit import hookimpl

if TYPE_CHECKING:
    from fusionkit.interfaces import Component


@hookimpl
def fusionkit_components() -> Iterable[type[Component]]:
    """Return the backbone ``timm-unet``."""
    from fusionkit_timm.backbone import TimmUNet

    return [TimmUNet]
