"""The command line: a file per command. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

# isort: off
# In the order of `fusionkit --help`.
from fusionkit.cli import fuse  # noqa: F401
from fusionkit.cli import run  # noqa: F401
from fusionkit.cli import metrics  # noqa: F401
from fusionkit.cli import bench  # noqa: F401
from fusionkit.cli import audit  # noqa: F401
from fusionkit.cli import models  # noqa: F401
from fusionkit.cli import export  # noqa: F401
from fusionkit.cli import convert  # noqa: F401
from fusionkit.cli import split  # noqa: F401
from fusionkit.cli import schema  # noqa: F401
from fusionkit.cli import doctor  # noqa: F401
from fusionkit.cli import plugins  # noqa: F401

# isort: on
from fusionkit.cli.app import app, plugins_app
from fusionkit.cli.ending import run_to_the_end
from fusionkit.cli.messages import log_to_stderr

__all__ = ["app", "main", "plugins_app"]


def main() -> None:
    """Run the command line.

    Exit codes: 0 for success, 2 for a mistake of the user or a fault of the machine, told in one
    message, 1 for a bug, 130 for an interruption.
    """
    log_to_stderr()
    run_to_the_end(app)
