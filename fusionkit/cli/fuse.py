"""``fusionkit fuse``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from fusionkit.cli.app import app
from fusionkit.cli.options import (
    BackboneOption,
    ExactOption,
    ModelOption,
    PluginFiles,
    Sources,
    Stretch,
    Symmetry,
    SymmetryOption,
    choose_model,
    parse_assignments,
    parse_sources,
)

logger = logging.getLogger("fusionkit")


@app.command()
def fuse(
    source: Sources,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="PATH",
            help="Folder for the fused images, or a file name to fuse one pair.",
        ),
    ],
    model: ModelOption = None,
    backbone: BackboneOption = None,
    colour: Annotated[
        str | None,
        typer.Option(
            metavar="MODALITY",
            help="Modality that gives the colour, or `none` for grey results. By default the "
            "modality whose images are in colour.",
        ),
    ] = None,
    window: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODALITY=LOW:HIGH",
            help="Values that become black and white, for raw thermal images. `LOW%:HIGH%` are "
            "percentiles over all images; `full` keeps the range of the file type.",
        ),
    ] = None,
    align: Annotated[
        bool,
        typer.Option("--align", help="Correct shifts of some pixels between the sources."),
    ] = False,
    stretch: Annotated[
        Stretch,
        typer.Option(help="With `minmax`, stretch each fused image to the full range."),
    ] = Stretch.none,
    symmetrize: SymmetryOption = Symmetry.none,
    exact: ExactOption = False,
    plugin_files: PluginFiles = None,
) -> None:
    """Fuse images of one scene, or folders of them.

    Images in folders are matched by file name. The fused images keep the size, the bit depth and
    the colour of the sources. Messages report what was done to the sources before fusing: windows,
    resampling, alignment.

    Examples:

    ```bash
    fusionkit fuse --source infrared=ir/ --source visible=vi/ -o fused/
    fusionkit fuse --source mri=mri.png --source ct=ct.png -o fused.png
    ```
    """
    from fusionkit.inference.folders import fuse_files
    from fusionkit.inference.sources import FusionOptions
    from fusionkit.inference.symmetrize import symmetrized
    from fusionkit.progress import ProgressBar

    sources = parse_sources(source)
    forms = "MODALITY=LOW:HIGH, MODALITY=LOW%:HIGH% or MODALITY=full"
    windows = parse_assignments("--window", window, forms)
    network, names = choose_model(model, backbone, sources, exact=exact)
    options = FusionOptions(
        colour=None if colour is None else names.get(colour, colour),
        stretch=stretch.value,
        windows={names.get(modality, modality): text for modality, text in windows.items()},
        resample=True,
        align=align,
    )
    network = symmetrized(network, symmetrize.value)
    paths = {names[modality]: path for modality, path in sources.items()}
    with ProgressBar("fusing") as bar:
        written = fuse_files(network, paths, out, options, progress=bar)
    logger.info("%d fused image%s in %s", len(written), "s" if len(written) != 1 else "", out)
