"""The application, its groups of commands, and the options of `fusionkit` itself.

Help texts are Markdown: the terminal renders it, and the documentation has a page per command.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from fusionkit.cli.answers import COMMANDS, overview, version


class _Overview(TyperGroup):
    def get_help(self, ctx: Any) -> str:
        """Return the same help as without the commands."""
        return overview()


app = typer.Typer(
    cls=_Overview,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


class _Models(TyperGroup):
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take ``models`` for ``models list``, and ``models NAME`` for ``models show NAME``."""
        if not args:
            args = ["list"]
        elif not args[0].startswith("-") and args[0] not in self.commands:
            args = ["show", *args]
        return super().parse_args(ctx, args)


models_app = typer.Typer(cls=_Models, rich_markup_mode="markdown", help=COMMANDS["models"])
data_app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", help=COMMANDS["data"])
plugins_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode="markdown", help=COMMANDS["plugins"]
)
app.add_typer(models_app, name="models")
app.add_typer(data_app, name="data")
app.add_typer(plugins_app, name="plugins")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(version())
        raise typer.Exit


@app.callback()
def fusionkit_options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Fuse images of several modalities into one; train and compare fusion networks.

    Each command explains itself: `fusionkit fuse --help`.

    Examples:

    ```bash
    fusionkit fuse --source infrared=ir/ --source visible=vi/ -o fused/
    fusionkit run emma.yaml
    ```
    """
