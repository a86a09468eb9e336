"""``fusionkit models``: list, show, push."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fusionkit.cli.application import models_app
from fusionkit.cli.messages import printable

if TYPE_CHECKING:
    from fusionkit.registry.model_cards import Model

logger = logging.getLogger("fusionkit")


@models_app.command("list")
def models_list() -> None:
    """List the installed trained models. `fusionkit models` alone does the same.

    Example:

    ```bash
    fusionkit models list
    ```
    """
    from rich.console import Console
    from rich.table import Table

    installed = _installed()
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


@models_app.command("show")
def models_show(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="Installed model, or `hf:owner/name@revision` for one of the Hugging Face hub, "
            "which is downloaded.",
        ),
    ],
) -> None:
    """Describe a trained model. `fusionkit models NAME` does the same.

    The description (model card) says what the model was trained on and how, under which terms it
    may be used, how it scores and where its limits are. A model of the hub is put into the cache,
    so that it can be used without a connection afterwards.

    Examples:

    ```bash
    fusionkit models show emma-ir-vis
    fusionkit models show hf:owner/name@v1
    ```
    """
    from fusionkit.registry.model_cards import card_text

    print(printable(card_text(_model_named(name))), end="")


@models_app.command("push")
def models_push(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="Installed model, or the card (YAML) beside the weights of yours."
        ),
    ],
    repository: Annotated[
        str,
        typer.Argument(
            metavar="OWNER/NAME", help="Where to publish it; it is created if it does not exist."
        ),
    ],
    private: Annotated[
        bool, typer.Option("--private", help="Create it so that only its owner sees it.")
    ] = False,
) -> None:
    """Publish a trained model on the Hugging Face hub, with its card and its hash.

    Others fuse with it by `--model hf:OWNER/NAME`, and with this very version by the name that the
    command prints. Log in first, by `hf auth login` or the variable HF_TOKEN.

    Example:

    ```bash
    fusionkit models push my-model.yaml owner/name --private
    ```
    """
    from fusionkit.registry.hub import push_model
    from fusionkit.registry.model_cards import read_model

    found = read_model(Path(model)) if Path(model).is_file() else _model_named(model)
    print(push_model(found, repository, private=private))


def _installed() -> dict[str, Model]:
    from fusionkit.registry.model_cards import read_model
    from fusionkit.registry.plugin_cache import installed_listing

    return {key: read_model(Path(card)) for key, card in installed_listing().models.items()}


def _model_named(name: str) -> Model:
    """Return a model whose weights were verified; raise an error that names the others."""
    if name.startswith("hf:"):
        from fusionkit.registry.hub import fetch_model, parse_reference

        reference = parse_reference(name)
        assert reference is not None
        return fetch_model(reference)
    installed = _installed()
    if name not in installed:
        from fusionkit.registry.model_cards import model_named
        from fusionkit.registry.plugins import load_installed_plugins

        plugins = load_installed_plugins()
        return model_named(name, plugins.models, plugins.registry.hint)
    installed[name].verify()
    return installed[name]
