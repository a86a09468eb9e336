"""Commands for authors of plugins: plugins new, plugins check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fusionkit.cli.app import plugins_app
from fusionkit.cli.options import PluginFiles, say
from fusionkit.errors import FusionkitError


@plugins_app.command("new")
def plugins_new(
    name: Annotated[str, typer.Argument(help="Of package, plugin and component: my-fusion.")],
    kind: Annotated[
        str,
        typer.Option(help="backbone, sensor, transform, loss, metric, dataset, task or stage."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where its folder is made.")] = Path(),
) -> None:
    """Write a complete plugin package that installs, runs and passes its tests at once."""
    from fusionkit.authoring import write_package

    for path in write_package(out, name, kind):
        print(path)
    say(f"next: pip install -e {out / name} && fusionkit run {name}.yaml && pytest {out / name}")


@plugins_app.command("check")
def plugins_check(
    package: Annotated[str, typer.Argument(help="A plugin, its package, or a Python file.")],
    every: Annotated[bool, typer.Option("--all", help="Show passes and skips one by one.")] = False,
    plugin_files: PluginFiles = None,
) -> None:
    """Check that what an installed package brings keeps the promises of its kinds."""
    from rich.console import Console
    from rich.table import Table

    from fusionkit.registry.plugin_files import load_plugin
    from fusionkit.registry.plugins import load_installed_plugins
    from fusionkit.testing import check_plugin

    if package.endswith(".py"):
        load_plugin(package)
        package = Path(package).name
    table = Table(title=f"conformance of {package}")
    for column in ("component", "passed", "skipped", "failed"):
        table.add_column(column, justify="left" if column == "component" else "right")
    counts: dict[str, dict[str, int]] = {}
    for case, outcome in check_plugin(load_installed_plugins(), package):
        own = counts.setdefault(case.component, dict.fromkeys(("passed", "skipped", "failed"), 0))
        own[outcome.state] += 1
        if every or outcome.state == "failed":
            said = f": {outcome.sentence}" if outcome.sentence else ""
            print(f"{outcome.state}  {case.component}, {case.check.__name__}{said}")
    for component, own in counts.items():
        table.add_row(component, *(str(number) if number else "-" for number in own.values()))
    Console().print(table)
    failed = sum(own["failed"] for own in counts.values())
    if failed:
        raise FusionkitError(f"{failed} checks failed; each is named above with what to mend")
