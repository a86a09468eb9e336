"""Commands that work on recipes and weights: run, schema, convert, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fusionkit.cli.app import app
from fusionkit.cli.options import PluginFiles, say


@app.command()
def run(
    config: Annotated[str, typer.Argument(help="A YAML file, or a recipe such as emma.yaml.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="data.size=64 ...")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The run folder; runs/NAME if not given.")
    ] = None,
    restart: Annotated[
        bool, typer.Option(help="Run again what the configuration has changed, or everything.")
    ] = False,
    plugin_files: PluginFiles = None,
) -> None:
    """Train, fuse, evaluate and report as a configuration says; again goes on where it stopped."""
    from fusionkit.config.run_config import load_config
    from fusionkit.registry.plugins import load_installed_plugins
    from fusionkit.runs.pipeline import run_pipeline

    plugins = load_installed_plugins()
    loaded = load_config(config, overrides or [], plugins)
    folder = out or Path("runs") / loaded.config.name
    finished = run_pipeline(loaded, plugins, folder, restart=restart)
    if finished.context().is_first:
        report = folder / "report.html"
        say(f"done: {report if report.is_file() else folder}")


@app.command()
def schema(
    suite: Annotated[bool, typer.Option("--suite", help="Of suites of `bench` instead.")] = False,
    plugin_files: PluginFiles = None,
) -> None:
    """Print the JSON schema of recipes with every installed component, for editors."""
    import json

    from fusionkit.benchmark.suite import suite_schema
    from fusionkit.config.json_schema import json_schema
    from fusionkit.registry.plugins import load_installed_plugins

    print(
        json.dumps(
            (suite_schema if suite else json_schema)(load_installed_plugins().registry), indent=2
        )
    )


@app.command()
def convert(
    official: Annotated[
        Path, typer.Argument(help="A .pth file that the authors of a method published.")
    ],
    out: Annotated[Path, typer.Argument(help="The .safetensors file to write.")],
    kind: Annotated[
        str, typer.Option("--as", help="Name of the network; a wrong name lists those known.")
    ],
) -> None:
    """Turn official weights into a file that rebuilds its own network."""
    from fusionkit.registry.official_weights import convert_official
    from fusionkit.registry.plugins import load_installed_plugins

    name = convert_official(official, out, kind, load_installed_plugins())
    say(f"{out}: {name}")


@app.command()
def export(
    out: Annotated[Path, typer.Argument(help="The .onnx file to write.")],
    model: Annotated[
        str,
        typer.Option(
            help="A run folder, a .safetensors file, or a name that `fusionkit models` lists."
        ),
    ],
    modality: Annotated[
        list[str] | None,
        typer.Option(help="A source, in the order of the inputs; those of the model if not given."),
    ] = None,
    plugin_files: PluginFiles = None,
) -> None:
    """Write a trained model as ONNX that fuses luminance of any size."""
    from fusionkit.api import load
    from fusionkit.inference.onnx_export import export_onnx
    from fusionkit.io.atomic_write import make_folder

    network = load(model)
    make_folder(out.parent)
    names = export_onnx(network, out, modality)
    say(f"{out}: {', '.join(names)} -> fused, {out.stat().st_size / 1e6:.1f} MB")
