"""The two groups of commands."""

from __future__ import annotations

import typer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Multi-modality image fusion without ground truth, as plugins of a small core.",
)
plugins_app = typer.Typer(no_args_is_help=True, help="What the installed plugins bring.")
app.add_typer(plugins_app, name="plugins")
