"""``fusionkit doctor``."""

from __future__ import annotations

from fusionkit.cli.application import app
from fusionkit.cli.plugins import print_plugins


@app.command()
def doctor() -> None:
    """Check the installation: versions, devices and plugins.

    Please include the output when you report a problem. The exit code is 2 if a plugin is broken.

    Example:

    ```bash
    fusionkit doctor
    ```
    """
    from fusionkit.registry.plugin_cache import listing_of
    from fusionkit.registry.plugins import load_installed_plugins
    from fusionkit.runs.environment import environment

    values = environment()
    versions = "\n".join(f"  {name} {version}" for name, version in values["versions"].items())
    print(f"python {values['python']} on {values['system']}\n{versions}")
    print(f"devices\n  {values['cpus']} CPU cores, torch uses {values['threads']}")
    for gpu in values["gpus"]:
        print(f"  {gpu}")
    print("plugins")
    print_plugins(listing_of(load_installed_plugins()))
    if load_installed_plugins().broken:
        raise SystemExit(2)
