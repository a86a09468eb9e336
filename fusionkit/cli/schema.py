"""``fusionkit schema``."""

from __future__ import annotations

from typing import Annotated

import typer

from fusionkit.cli.application import app
from fusionkit.cli.options import PluginFiles


@app.command()
def schema(
    suite: Annotated[
        bool, typer.Option("--suite", help="Print the schema of benchmark suites instead.")
    ] = False,
    plugin_files: PluginFiles = None,
) -> None:
    """Print the JSON schema of recipes.

    The schema knows every installed component and its arguments. Editors use it to complete and
    check recipes.

    Examples:

    ```bash
    fusionkit schema > recipe.schema.json
    fusionkit schema --suite > suite.schema.json
    ```
    """
    import json

    from fusionkit.benchmark.suite import suite_schema
    from fusionkit.config.json_schema import json_schema
    from fusionkit.registry.plugins import load_installed_plugins

    make = suite_schema if suite else json_schema
    print(json.dumps(make(load_installed_plugins().registry), indent=2))
