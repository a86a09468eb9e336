"""``fusionkit split``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from fusionkit.cli.application import app
from fusionkit.cli.options import PluginFiles, parse_assignments
from fusionkit.errors import FusionkitError

logger = logging.getLogger("fusionkit")


@app.command()
def split(
    suite: Annotated[
        Path, typer.Argument(metavar="SUITE", help="Suite file that names the data set.")
    ],
    data: Annotated[str, typer.Argument(metavar="DATA", help="Name of the data set in the suite.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE.json", help="Manifest to write.")
    ],
    part: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FRACTION",
            help="Name of a split and its share of the scenes, such as `train=0.8`; repeat the "
            "option for each split. By default the splits that come with the data set.",
        ),
    ] = None,
    near: Annotated[
        int,
        typer.Option(
            metavar="BITS",
            help="Put two images into one split if their 64-bit perceptual hashes differ in at "
            "most this many bits.",
        ),
    ] = 6,
    seed: Annotated[
        int, typer.Option(metavar="N", help="Random seed for dealing scenes to splits.")
    ] = 0,
    plugin_files: PluginFiles = None,
) -> None:
    """Write a split of a data set as a manifest.

    A manifest lists the scenes of each split with the SHA-256 of their files, so that others can
    verify that they have the same images. Neighbouring frames of a video always go to the same
    split: otherwise a method could score on images that it has nearly seen in training.

    Example:

    ```bash
    fusionkit split suite.yaml msrs -o out.json --part train=0.8 --part val=0.2
    ```
    """
    from fusionkit.benchmark.manifests import make_manifest
    from fusionkit.benchmark.suite import load_suite
    from fusionkit.io.atomic_write import make_folder
    from fusionkit.registry.plugins import load_installed_plugins

    plugins = load_installed_plugins()
    loaded = load_suite(suite, [], plugins)
    if data not in loaded.config.data:
        raise FusionkitError(
            f"{suite} has no data set {data!r} (it has: {', '.join(loaded.config.data)})"
        )
    component = loaded.config.data[data].component
    dataset = plugins.registry.build(component, loaded.config.modalities)
    manifest = make_manifest(dataset, _fractions(part), near=near, seed=seed)
    make_folder(out.parent)
    manifest.write(out)
    for name, entries in manifest.splits.items():
        groups = len({entry.group for entry in entries})
        logger.info("%s: %d scenes in %d groups", name, len(entries), groups)


def _fractions(options: list[str] | None) -> dict[str, float] | None:
    fractions = {}
    for name, text in parse_assignments(
        "--part", options, "NAME=FRACTION (--part test=0.2)"
    ).items():
        try:
            fractions[name] = float(text)
        except ValueError:
            raise FusionkitError(f"--part {name}: expected a number, found {text!r}") from None
    return fractions or None
