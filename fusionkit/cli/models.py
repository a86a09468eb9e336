"""``fusionkit models``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fusionkit.cli.application import app

if TYPE_CHECKING:
    from fusionkit.registry.model_cards import Model

logger = logging.getLogger("fusionkit")


@app.command()
def models(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Model to describe. By default list all."),
    ] = None,
) -> None:
    """List the installed trained models, or describe one.

    The description (model card) says what the model was trained on and how, under which terms it
    may be used, how it scores and where its limits are.

    Examples:

    ```bash
    fusionkit models
    fusionkit models emma-ir-vis
    ```
    """
    from rich.console import Console
    from rich.table import Table

    from fusionkit.registry.model_cards import card_text, read_model
    from fusionkit.registry.plugin_cache import installed_listing

    installed = {key: read_model(Path(card)) for key, card in installed_listing().models.items()}
    if name is not None:
        model = installed[name] if name in installed else _missing(name)
        model.verify()
        print(card_text(model), end="")
        return
    if not installed:
        logger.info("no installed plugin ships a trained model")
        return
    table = Table()
    for column in ("model", "fuses", "MB", "SHA-256", "what it is"):
        table.add_column(column)
    for key, model in installed.items():
        size = f"{model.verify().stat().st_size / 1e6:.1f}"
        card = model.card
        table.add_row(key, ", ".join(card.modalities), size, card.sha256[:12], card.summary)
    Console().print(table)
    logger.info("fusionkit models NAME describes one: data, terms, scores and limits")


def _missing(name: str) -> Model:
    """Raise an error that names the models and the plugins that were not loaded."""
    from fusionkit.registry.model_cards import model_named
    from fusionkit.registry.plugins import load_installed_plugins

    plugins = load_installed_plugins()
    return model_named(name, plugins.models, plugins.registry.hint)
