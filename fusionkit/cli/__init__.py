"""The command line: a file per command. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from fusionkit.cli.answers import overview, version
from fusionkit.cli.ending import run_to_the_end

if TYPE_CHECKING:
    from fusionkit.cli.commands import app, data_app, models_app, plugins_app

__all__ = ["app", "data_app", "main", "models_app", "plugins_app"]

# Answered without the commands: a shell waits for nothing as often as for these.
_ANSWERS = {
    (): overview,
    ("-h",): overview,
    ("--help",): overview,
    ("--version",): version,
}


def main() -> None:
    """Run the command line.

    Exit codes: 0 for success, 2 for a mistake of the user or a fault of the machine, told in one
    message, 1 for a bug, 130 for an interruption.
    """
    answer = _ANSWERS.get(tuple(sys.argv[1:]))
    if answer is not None:
        run_to_the_end(lambda: print(answer()))
    from fusionkit.cli.commands import app
    from fusionkit.cli.messages import log_to_stderr

    log_to_stderr()
    run_to_the_end(app)


def __getattr__(name: str) -> Any:
    if name in ("app", "data_app", "models_app", "plugins_app"):
        from fusionkit.cli import commands

        return getattr(commands, name)
    raise AttributeError(f"module 'fusionkit.cli' has no attribute {name!r}")
