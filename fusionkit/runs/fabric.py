"""Lightning Fabric, imported without torchmetrics, which would take seconds.

To learn the version of torchmetrics, Fabric imports all of it, and with it torchvision, SciPy and
matplotlib. Only its spike detection, which nothing here uses, needs the answer.
"""

from __future__ import annotations

import sys

__all__ = ["Fabric"]

if "torchmetrics" in sys.modules:
    from lightning_fabric import Fabric
else:
    sys.modules["torchmetrics"] = None  # type: ignore[assignment]  # an import of it fails at once
    try:
        from lightning_fabric import Fabric
    finally:
        del sys.modules["torchmetrics"]
