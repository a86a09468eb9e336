"""Any encoder of timm as a fusion backbone, under one of several decoders."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from fusionkit import hookimpl

if TYPE_CHECKING:
    from fusionkit.interfaces import Component


@hookimpl
def fusionkit_components() -> Iterable[type[Component]]:
    """Return the backbone."""
    from fusionkit_timm.backbone import TimmUNet

    return [TimmUNet]
