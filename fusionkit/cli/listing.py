"""Commands on what is installed: doctor, models, plugins list and show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fusionkit.cli.app import app, plugins_app
from fusionkit.cli.options import PluginFiles, say

if TYPE_CHECKING:
    from fusionkit.registry.plugin_cache import Listing


@app.command()
def doctor() -> None:
    """Say which versions, devices and plugins there are, and which plugins are broken."""
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
    _print_plugins(listing_of(load_installed_plugins()))
    if load_installed_plugins().broken:
        raise SystemExit(2)


@app.command()
def models(
    name: Annotated[str | None, typer.Argument(help="Whose card to print.")] = None,
) -> None:
    """List the trained models that are installed, or print the card of one."""
    from rich.console import Console
    from rich.table import Table

    from fusionkit.registry.model_cards import card_text, model_named
    from fusionkit.registry.plugins import load_installed_plugins

    plugins = load_installed_plugins()
    there = plugins.models
    if name is not None:
        model = model_named(name, there, plugins.registry.hint)
        model.verify()
        print(card_text(model), end="")
        return
    if not there:
        say("no installed plugin ships a trained model")
        return
    table = Table()
    for column in ("model", "fuses", "MB", "SHA-256", "what it is"):
        table.add_column(column)
    for key, model in sorted(there.items()):
        size = f"{model.verify().stat().st_size / 1e6:.1f}"
        card = model.card
        table.add_row(key, ", ".join(card.modalities), size, card.sha256[:12], card.summary)
    Console().print(table)
    say("fusionkit models NAME: data, terms, metrics and limits of one")


@plugins_app.command("list")
def plugins_list(plugin_files: PluginFiles = None) -> None:
    """List the plugins, with what each brings."""
    from fusionkit.registry.plugin_cache import installed_listing

    listing = installed_listing()
    _print_plugins(listing)
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
    kind: Annotated[str, typer.Argument(help="backbone, loss, ...")],
    name: Annotated[str, typer.Argument(help="Its name in configurations.")],
    plugin_files: PluginFiles = None,
) -> None:
    """Show a component: where it comes from, what it does, its arguments."""
    import inspect

    from fusionkit.registry.arguments import arguments_model
    from fusionkit.registry.plugins import load_installed_plugins
    from fusionkit.registry.signatures import parameters_of

    entry = load_installed_plugins().registry.get(kind, name)
    print(f"{kind} {name}, plugin {entry.plugin}, {entry.cls.__module__}.{entry.cls.__name__}\n")
    print(inspect.getdoc(entry.cls) or "")
    print("\nin a configuration:")
    print(f"  name: {name}")
    for key, field in arguments_model(entry.cls).model_fields.items():
        parameter = parameters_of(entry.cls)[key]
        default = "required" if field.is_required() else repr(field.default)
        print(f"  {key}: {default}    # {parameter.annotation}")


def _print_plugins(listing: Listing) -> None:
    for plugin in listing.plugins:
        state = plugin.complaint or f"{plugin.components} components"
        print(f"  {plugin.name} ({plugin.distribution} {plugin.version}): {state}")
    if not listing.plugins:
        print("  none")
