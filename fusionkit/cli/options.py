"""Options that several commands have, and what they mean."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fusionkit.errors import FusionkitError

if TYPE_CHECKING:
    from fusionkit.interfaces import Backbone


class Symmetry(StrEnum):
    """The group that a backbone is averaged over."""

    none = "none"
    reflect = "reflect"
    d4 = "d4"


class Stretch(StrEnum):
    """Whether the fused luminance is stretched to the whole range."""

    none = "none"
    minmax = "minmax"


Sources = Annotated[
    list[str],
    typer.Option(
        "--source",
        metavar="MODALITY=PATH",
        help="A file or folder per modality; give it once for each.",
    ),
]


ModelOption = Annotated[
    str | None,
    typer.Option(
        help="A run folder, a .safetensors file, or a name that `fusionkit models` lists; "
        "the model for these sources if not given."
    ),
]


def _add_plugin_files(files: list[Path] | None) -> list[Path] | None:
    """Load plugin files before the command runs."""
    from fusionkit.registry.plugin_files import load_plugin

    for file in files or []:
        load_plugin(file)
    return files


PluginFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin",
        metavar="FILE.py",
        callback=_add_plugin_files,
        help="A Python file with components of your own; give it once for each file.",
    ),
]


def parse_sources(options: list[str]) -> dict[str, Path]:
    """Return modality -> path from ``--source MODALITY=PATH``.

    Raises:
        FusionkitError: for what has another form, is there twice, or is alone.
    """
    sources: dict[str, Path] = {}
    for option in options:
        modality, equals, path = option.partition("=")
        if not (modality and equals and path):
            raise FusionkitError(
                f"expected --source MODALITY=PATH (--source infrared=ir/), found {option!r}"
            )
        if modality in sources:
            raise FusionkitError(f"--source {modality}=... is there twice")
        sources[modality] = Path(path)
    if len(sources) < 2:
        raise FusionkitError(
            f"fusion takes two or more sources, found {len(sources)}; "
            f"give --source once for each modality"
        )
    return sources


def choose_model(
    model: str | None, backbone: str | None, sources: dict[str, Path]
) -> tuple[Backbone, dict[str, str]]:
    """Return the network, and what it calls each source."""
    from fusionkit.api import build, load
    from fusionkit.registry.model_cards import model_for, names_of
    from fusionkit.registry.plugins import load_installed_plugins

    if model is not None and backbone is not None:
        raise FusionkitError("give --model or --backbone, not both")
    if backbone is not None:
        network: Backbone = build("backbone", name=backbone)
        if any(True for _ in network.parameters()):
            raise FusionkitError(
                f"the backbone {backbone!r} has weights that must be trained first; "
                f"give a trained one with --model"
            )
        return network.eval(), {name: name for name in sources}
    plugins = load_installed_plugins()
    models = plugins.models
    if model is None:
        model = model_for(sources, models, plugins.registry.hint).card.name
        say(f"model: {model} (others: fusionkit models)")
    known = names_of(models[model].card, sources) if model in models else None
    return load(model), known or {name: name for name in sources}


def say(text: str) -> None:
    """Tell the user something that is no result: on the error output, at once."""
    print(text, file=sys.stderr, flush=True)
