"""``fusionkit data``: list, get and check published data sets."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fusionkit.cli.application import data_app
from fusionkit.errors import FusionkitError

if TYPE_CHECKING:
    from fusionkit.registry.data_cards import PublishedData

logger = logging.getLogger("fusionkit")

DataName = Annotated[
    str, typer.Argument(metavar="NAME", help="Name that `fusionkit data list` shows.")
]


@data_app.command("list")
def data_list() -> None:
    """List the published data sets that fusionkit knows, and which of them are on this machine.

    Example:

    ```bash
    fusionkit data list
    ```
    """
    from rich.console import Console
    from rich.table import Table

    from fusionkit.io.data_folder import data_folder, find_data
    from fusionkit.registry.data_cards import read_data_card
    from fusionkit.registry.plugin_cache import installed_listing

    table = Table()
    for column in ("name", "what it is", "download", "on this machine"):
        table.add_column(column)
    for name, path in installed_listing().data.items():
        card = read_data_card(Path(path)).card
        try:
            here = str(find_data(card.folder))
        except FusionkitError:
            here = "no"
        table.add_row(name, card.summary, "by hand" if card.download is None else "yes", here)
    Console().print(table)
    logger.info("data sets lie below %s (FUSIONKIT_DATA)", data_folder())


@data_app.command("get")
def data_get(
    name: DataName,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Accept the terms without being asked.")
    ] = False,
) -> None:
    """Download a published data set, after showing its terms of use.

    It goes below the folder that FUSIONKIT_DATA names, where recipes and suites find it by name
    (`data: {name: roadscene}`). Files are verified by their SHA-256; where none is known, that of
    the first download is recorded and must hold for later ones. Running the command again resumes
    an interrupted download.

    Some data sets are behind forms or on drives, where no program gets them; the command says where
    they are and how the folder must look.

    Examples:

    ```bash
    fusionkit data get roadscene
    fusionkit data get tno --yes
    ```
    """
    from fusionkit.progress import ProgressBar
    from fusionkit.registry.data_cards import data_text
    from fusionkit.registry.data_download import get_data

    published = _published(name)
    print(data_text(published), end="", flush=True)
    if published.card.download is not None and not published.target.exists() and not yes:
        if not sys.stdin.isatty():
            raise FusionkitError("nobody can be asked whether the terms suit; accept them by --yes")
        if not typer.confirm("Do you accept the terms, and download it?", err=True):
            logger.info("nothing was downloaded")
            return
    with ProgressBar(f"downloading {name}") as bar:
        folder = get_data(published, bar)
    logger.info("%s is at %s; `fusionkit data check %s` checks it", name, folder, name)


@data_app.command("check")
def data_check(
    name: DataName,
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="FOLDER",
            help="Folder that holds the data set. By default its place below FUSIONKIT_DATA.",
        ),
    ] = None,
) -> None:
    """Check a data set on this machine: its files, their pairs and labels, and their number.

    Checksums are compared where they are known. The exit code is 2 if anything is missing or
    different.

    Examples:

    ```bash
    fusionkit data check roadscene
    fusionkit data check llvip downloads/LLVIP
    ```
    """
    from fusionkit.io.data_folder import find_data
    from fusionkit.registry.data_check import check_data
    from fusionkit.registry.plugins import load_installed_plugins

    published = _published(name)
    root = find_data(published.card.folder, folder)
    for sentence in check_data(published, root, load_installed_plugins().registry):
        print(f"{root}: {sentence}")


def _published(name: str) -> PublishedData:
    """Return a data set by name, without loading the plugins if it is known."""
    from fusionkit.registry.data_cards import data_named, read_data_card
    from fusionkit.registry.plugin_cache import installed_listing

    known = installed_listing().data
    if name in known:
        return read_data_card(Path(known[name]))
    from fusionkit.registry.plugins import load_installed_plugins

    plugins = load_installed_plugins()
    return data_named(name, plugins.data, plugins.registry.hint)
