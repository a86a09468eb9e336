"""``fusionkit run``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from fusionkit.cli.application import app
from fusionkit.cli.options import Overrides, PluginFiles

logger = logging.getLogger("fusionkit")


@app.command()
def run(
    config: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE", help="YAML file, or the name of a recipe that a plugin ships."
        ),
    ],
    overrides: Overrides = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Run folder. By default `runs/NAME`."),
    ] = None,
    restart: Annotated[
        bool,
        typer.Option(
            "--restart",
            help="Start again from the first stage whose settings have changed or whose files are "
            "missing. If there is none, start from the beginning.",
        ),
    ] = False,
    plugin_files: PluginFiles = None,
) -> None:
    """Train, fuse, evaluate and report as a recipe says.

    A recipe names the data, the networks and the stages of a run; `fusionkit plugins list` shows
    the installed ones. The run folder receives the weights, the fused images, the scores and
    `report.html`. Re-running the command resumes an interrupted run.

    Examples:

    ```bash
    fusionkit run emma.yaml
    fusionkit run emma.yaml name=small data.train=32 data.size=64
    ```
    """
    from fusionkit.config.run_config import load_config
    from fusionkit.registry.plugins import load_installed_plugins
    from fusionkit.runs.pipeline import run_pipeline

    plugins = load_installed_plugins()
    loaded = load_config(config, overrides or [], plugins)
    folder = out or Path("runs") / loaded.config.name
    finished = run_pipeline(loaded, plugins, folder, restart=restart)
    if finished.context().is_first:
        report = folder / "report.html"
        logger.info("done: %s", report if report.is_file() else folder)
