"""``fusionkit plugins``: list, show, check, new."""

from __future__ import annotations

import logging
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fusionkit.cli.application import plugins_app
from fusionkit.cli.options import PluginFiles
from fusionkit.errors import FusionkitError

if TYPE_CHECKING:
    from fusionkit.registry.plugin_cache import Listing

logger = logging.getLogger("fusionkit")


@plugins_app.command("list")
def plugins_list(plugin_files: PluginFiles = None) -> None:
    """List the installed plugins, and the components, recipes and models that they bring.

    Example:

    ```bash
    fusionkit plugins list
    ```
    """
    from fusionkit.registry.plugin_cache import installed_listing

    listing = installed_listing()
    print_plugins(listing)
    for kind, pairs in listing.components.items():
        print(kind)
        for name, plugin in pairs:
            print(f"  {name}  ({plugin})")
    if listing.recipes:
        print("recipes")
        for recipe in listing.recipes:
            print(f"  {recipe}")
    if listing.models:
        print("models")
        for model in listing.models:
            print(f"  {model}")


@plugins_app.command("show")
def plugins_show(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND",
            help="Kind of the component: backbone, sensor, transform, loss, distance, metric, "
            "dataset, stage or task.",
        ),
    ],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the component in recipes.")],
    plugin_files: PluginFiles = None,
) -> None:
    """Show what a component does and which arguments it takes in a recipe.

    Example:

    ```bash
    fusionkit plugins show backbone ufuser
    ```
    """
    from fusionkit.registry.descriptions import arguments_of, description_of, example_of
    from fusionkit.registry.plugins import load_installed_plugins

    entry = load_installed_plugins().registry.get(kind, name)
    print(f"{kind} {name}, plugin {entry.plugin}, {entry.cls.__module__}.{entry.cls.__name__}\n")
    print(description_of(entry.cls))
    arguments = arguments_of(entry.cls)
    print("\narguments:" if arguments else "\nit has no arguments")
    for argument in arguments:
        indent = "  " * (1 + argument.name.count("."))
        print(f"{indent}{argument.name}: {argument.default}    # {argument.type}")
        if argument.doc:
            print(f"{indent}    {argument.doc}")
    if example := example_of(entry.cls):
        print("\nexample in Python:")
        print(textwrap.indent(example, "  "))


@plugins_app.command("check")
def plugins_check(
    package: Annotated[
        str,
        typer.Argument(metavar="PLUGIN", help="Plugin, package that brings it, or Python file."),
    ],
    every: Annotated[
        bool, typer.Option("--all", help="Print every check, not only failures and refusals.")
    ] = False,
    plugin_files: PluginFiles = None,
) -> None:
    """Check that the components of a plugin do what their kinds promise.

    The command builds each component and tries it on small images: sizes, value ranges,
    gradients, random seeds, errors. `refused` counts checks that a component declares it can't
    take part in; the reasons are printed. Run it before you publish a plugin.

    Examples:

    ```bash
    fusionkit plugins check my-fusion
    fusionkit plugins check ./my_fusion.py
    ```
    """
    from rich.console import Console
    from rich.table import Table

    from fusionkit.registry.plugin_files import load_plugin
    from fusionkit.registry.plugins import load_installed_plugins
    from fusionkit.testing import check_plugin

    if package.endswith(".py"):
        load_plugin(package)
        package = Path(package).name
    table = Table(title=f"conformance of {package}")
    states = ("passed", "skipped", "refused", "failed")
    for column in ("component", *states):
        table.add_column(column, justify="left" if column == "component" else "right")
    counts: dict[str, dict[str, int]] = {}
    for case, outcome in check_plugin(load_installed_plugins(), package):
        own = counts.setdefault(case.component, dict.fromkeys(states, 0))
        own[outcome.state] += 1
        if every or outcome.state in ("refused", "failed"):
            reason = f": {outcome.sentence}" if outcome.sentence else ""
            print(f"{outcome.state}  {case.component}, {case.check.__name__}{reason}")
    for component, own in counts.items():
        table.add_row(component, *(str(number) if number else "-" for number in own.values()))
    Console().print(table)
    failed = sum(own["failed"] for own in counts.values())
    if failed:
        raise FusionkitError(f"{failed} checks failed; the lines above name each and its reason")


@plugins_app.command("new")
def plugins_new(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="Name of the package and of its component, such as `my-fusion`."
        ),
    ],
    kind: Annotated[
        str,
        typer.Option(
            metavar="KIND",
            help="Kind of the component: backbone, sensor, transform, loss, metric, dataset, "
            "stage or task.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="FOLDER", help="Folder to write the package into."),
    ] = Path(),
) -> None:
    """Write a new plugin package that installs, runs and passes its tests.

    Example:

    ```bash
    fusionkit plugins new my-fusion --kind backbone
    ```
    """
    from fusionkit.authoring import write_package
    from fusionkit.registry.plugins import load_installed_plugins

    for path in write_package(out, name, kind, load_installed_plugins()):
        print(path)
    logger.info(
        "next: pip install -e %s && fusionkit run %s.yaml && pytest %s",
        out / name,
        name,
        out / name,
    )


def print_plugins(listing: Listing) -> None:
    """Print a line for each plugin: name, distribution, version, and what is wrong with it."""
    for plugin in listing.plugins:
        state = plugin.complaint or f"{plugin.components} components"
        print(f"  {plugin.name} ({plugin.distribution} {plugin.version}): {state}")
    if not listing.plugins:
        print("  none")
