"""The command line. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import sys

# isort: off
# In the order of `fusionkit --help`.
from fusionkit.cli import running  # noqa: F401
from fusionkit.cli import fusing  # noqa: F401
from fusionkit.cli import judging  # noqa: F401
from fusionkit.cli import listing  # noqa: F401
from fusionkit.cli import authoring  # noqa: F401

# isort: on
from fusionkit.cli.app import app, plugins_app
from fusionkit.cli.messages import log_to_stderr
from fusionkit.errors import FusionkitError

__all__ = ["app", "main", "plugins_app"]


def main() -> None:
    """Run the command line: exit 0 done, 2 the user's mistake in one message, 1 a fault of ours."""
    log_to_stderr()
    try:
        app(standalone_mode=True)
    except FusionkitError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from the last epoch saved", file=sys.stderr)
        sys.exit(130)
