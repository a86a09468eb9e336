"""``fusionkit convert``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from fusionkit.cli.application import app
from fusionkit.cli.options import PluginFiles

logger = logging.getLogger("fusionkit")


@app.command()
def convert(
    official: Annotated[
        Path,
        typer.Argument(metavar="FILE.pth", help="Weights that the authors of a method published."),
    ],
    out: Annotated[Path, typer.Argument(metavar="FILE.safetensors", help="Weights file to write.")],
    kind: Annotated[
        str,
        typer.Option(
            "--as",
            metavar="NETWORK",
            help="Network that the weights belong to; an unknown name is answered with the "
            "list of known ones.",
        ),
    ],
    plugin_files: PluginFiles = None,
) -> None:
    """Convert published weights to a model that `fusionkit fuse` loads.

    The command reads tensors only and never runs code from the file. The result stores the
    configuration of the network with its weights, so that it can be rebuilt from the file alone.

    Example:

    ```bash
    fusionkit convert EMMA.pth emma.safetensors --as ufuser
    ```
    """
    from fusionkit.registry.official_weights import convert_official
    from fusionkit.registry.plugins import load_installed_plugins

    name = convert_official(official, out, kind, load_installed_plugins())
    logger.info("%s: %s", out, name)
