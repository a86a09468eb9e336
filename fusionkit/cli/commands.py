"""All commands; importing this module takes several times as long as starting Python."""

from __future__ import annotations

# isort: off
# In the order of `fusionkit.cli.answers`.
from fusionkit.cli import fuse  # noqa: F401
from fusionkit.cli import run  # noqa: F401
from fusionkit.cli import metrics  # noqa: F401
from fusionkit.cli import bench  # noqa: F401
from fusionkit.cli import audit  # noqa: F401
from fusionkit.cli import export  # noqa: F401
from fusionkit.cli import convert  # noqa: F401
from fusionkit.cli import split  # noqa: F401
from fusionkit.cli import schema  # noqa: F401
from fusionkit.cli import doctor  # noqa: F401
from fusionkit.cli import models  # noqa: F401
from fusionkit.cli import data  # noqa: F401
from fusionkit.cli import plugins  # noqa: F401

# isort: on
from fusionkit.cli.application import app, data_app, models_app, plugins_app

__all__ = ["app", "data_app", "models_app", "plugins_app"]
