"""``fusionkit bench``."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Annotated

import typer

from fusionkit.cli.application import app
from fusionkit.cli.options import (
    DeviceOption,
    EngineName,
    EngineOption,
    Overrides,
    PluginFiles,
    Precision,
    PrecisionOption,
    WorkersOption,
    open_engine,
)

logger = logging.getLogger("fusionkit")


@app.command()
def bench(
    suite: Annotated[
        Path,
        typer.Argument(metavar="SUITE", help="YAML file that names methods, data sets and tasks."),
    ],
    overrides: Overrides = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Folder for the results. By default `bench/NAME`."),
    ] = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = Precision.fp32,
    engine: EngineOption = EngineName.local,
    workers: WorkersOption = None,
    trust_model_files: Annotated[
        bool,
        typer.Option(
            "--trust-model-files",
            help="Let the task `detection` load `.pt` weights and model YAML that the suite names. "
            "They can run any code: use it only if you trust where they come from.",
        ),
    ] = False,
    plugin_files: PluginFiles = None,
) -> None:
    """Compare fusion methods on data sets by tasks.

    The command trains the methods that need it, fuses the test images with each method and scores
    the results by each task of the suite. It writes `results.csv`, `results.json` and
    `report.html`, with confidence intervals and tests of significance. Re-running the command
    resumes an interrupted comparison and computes only what is missing.

    With `--engine ray`, the workers of a cluster fuse the scenes and compute the fusion metrics.
    Methods and tasks that train do so on this machine.

    Examples:

    ```bash
    fusionkit bench benchmarks/fusion.yaml size=quick
    fusionkit bench my-suite.yaml --out results/
    ```
    """
    from rich.console import Console

    from fusionkit.benchmark.bench import run_suite
    from fusionkit.benchmark.suite import load_suite
    from fusionkit.benchmark.tables import print_table
    from fusionkit.registry.plugins import load_installed_plugins

    if trust_model_files:
        os.environ["FUSIONKIT_TRUST_MODEL_FILES"] = "1"  # the plugin of the task reads it
    plugins = load_installed_plugins()
    loaded = load_suite(suite, overrides or [], plugins)
    folder = out or Path("bench") / loaded.config.name
    with open_engine(engine, workers, device, precision) as (opened, place):
        results = run_suite(
            loaded, plugins, folder, device=place, precision=precision.value, engine=opened
        )
    print_table(results, Console(stderr=True))
    logger.info("done: %s", folder / "report.html")
