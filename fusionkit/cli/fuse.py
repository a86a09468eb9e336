"""``fusionkit fuse``."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from fusionkit.cli.application import app
from fusionkit.cli.options import (
    BackboneOption,
    ColourRule,
    DeviceOption,
    EngineName,
    EngineOption,
    ExactOption,
    MaxPixels,
    ModelOption,
    PluginFiles,
    Precision,
    PrecisionOption,
    Stretch,
    Symmetry,
    SymmetryOption,
    WorkersOption,
    allowed_device,
    choose_model,
    open_engine,
    parse_assignments,
)


@app.command()
def fuse(
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="PATH",
            help="Folder for the fused images, or a file name to fuse one pair or a video.",
        ),
    ],
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH",
            help="Images, folders or videos whose names tell their modalities, such as "
            "`ir.png vis.png`.",
        ),
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option(
            "--source",
            metavar="MODALITY=PATH",
            help="Image, folder, video, camera or stream of one modality; repeat the option for "
            "each modality.",
        ),
    ] = None,
    pair: Annotated[
        tuple[str, str] | None,
        typer.Option(
            "--pair",
            metavar="PATTERN PATTERN",
            help='How the files of the two sources are called, such as `"{stem}_ir.png" '
            '"{stem}_vis.png"`. By default files of the same name are of one scene.',
        ),
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(
            "--pairs",
            metavar="FILE.csv",
            help="Table of the files to fuse: a column for each modality, a line for each scene.",
        ),
    ] = None,
    recursive: Annotated[
        bool, typer.Option("--recursive", help="Search the folders below as well.")
    ] = False,
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
    colour_rule: Annotated[
        ColourRule,
        typer.Option(
            help="How the colour is put back under the fused brightness. `oklab` and `scaled` keep "
            "hue and saturation; only `oklab` keeps blue from turning lavender where it pales. "
            "`ycbcr` leaves Cb and Cr unchanged, as most papers do."
        ),
    ] = ColourRule.oklab,
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
    format: Annotated[
        str | None,
        typer.Option(
            metavar="FORMAT",
            help="File format of the results in a folder, such as `png`, `jpg` or `tif`. By "
            "default that of the source in colour, with PNG for JPEG and AVIF.",
        ),
    ] = None,
    quality: Annotated[
        int | None,
        typer.Option(
            min=1, max=100, help="Quality of formats that lose some, such as JPEG and videos."
        ),
    ] = None,
    fps: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            help="Frames per second of image sequences. By default those of the video beside them, "
            "or 25.",
        ),
    ] = None,
    bits: Annotated[
        int | None,
        typer.Option(
            metavar="8|16",
            help="Bits per channel of the results. By default as the source in colour has them.",
        ),
    ] = None,
    tile: Annotated[
        str,
        typer.Option(
            metavar="auto|off|SIZE",
            help="Side in pixels of the tiles that large images are fused in. `auto` takes tiles "
            "above 6 megapixels, or less where memory is short.",
        ),
    ] = "auto",
    device: DeviceOption = "auto",
    precision: PrecisionOption = Precision.fp32,
    engine: EngineOption = EngineName.local,
    workers: WorkersOption = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Fuse all pairs again, also those that are done and unchanged."
        ),
    ] = False,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Stop at the first pair that can't be fused."),
    ] = False,
    max_pixels: MaxPixels = None,
    plugin_files: PluginFiles = None,
) -> None:
    """Fuse images of one scene, folders of them, or videos.

    Images in folders are matched by file name. The fused images keep the size, the bit depth and
    the colour of the sources. Messages report what was done to the sources before fusing: windows,
    resampling, alignment.

    A pair that can't be fused is listed in `failures.csv` in the output folder, the others are
    fused, and the exit code is 2. The command may be interrupted: started again, it skips what is
    done.

    Videos, streams, cameras and image sequences (`frames/%06d.png`, or a folder if the output is a
    video) give a video with the time stamps of the source in colour.

    Examples:

    ```bash
    fusionkit fuse ir.png vis.png -o fused.png
    fusionkit fuse --source infrared=ir/ --source visible=vi/ -o fused/
    fusionkit fuse photos/ --pair "{stem}_ir.png" "{stem}_vis.png" -o fused/
    fusionkit fuse --source infrared=ir.mp4 --source visible=vi.mp4 -o fused.mp4
    ```
    """
    from fusionkit.cli.sources import find_videos, list_sources, rename_modalities
    from fusionkit.errors import FusionkitError
    from fusionkit.inference.devices import choose_device
    from fusionkit.inference.folders import FolderOptions, fuse_files
    from fusionkit.inference.output import OutputFormat
    from fusionkit.inference.sources import FusionOptions
    from fusionkit.inference.symmetrize import symmetrized
    from fusionkit.inference.video import VideoOptions, fuse_video
    from fusionkit.io.listing import Listing
    from fusionkit.progress import ProgressBar

    videos = find_videos(paths, source, out)
    if videos is not None and (pair or pairs or recursive or format):
        raise FusionkitError(
            "--pair, --pairs, --recursive and --format are for images, and these are videos; "
            "leave them out"
        )
    if videos is not None and engine is EngineName.ray:
        raise FusionkitError("--engine ray is for folders of images, and these are videos")
    listing = Listing(())
    if videos is None:
        listing = list_sources(paths, source, pair, pairs, recursive=recursive)
    modalities = list(listing.pairs[0].paths if videos is None else videos)
    forms = "MODALITY=LOW:HIGH, MODALITY=LOW%:HIGH% or MODALITY=full"
    windows = parse_assignments("--window", window, forms)
    network, names = choose_model(model, backbone, modalities, exact=exact)
    device = allowed_device(network, device, precision)
    options = FusionOptions(
        colour=None if colour is None else names.get(colour, colour),
        colour_rule=colour_rule.value,
        stretch=stretch.value,
        windows={names.get(modality, modality): text for modality, text in windows.items()},
        resample=True,
        align=align,
        bits=cast("Literal[8, 16] | None", bits),
        tile=int(tile) if tile.isdigit() else cast("Literal['auto', 'off']", tile),
    )
    network = symmetrized(network, symmetrize.value)
    if videos is not None:
        video_options = VideoOptions(
            quality=quality,
            rate=None if fps is None else Fraction(fps).limit_denominator(1001),
            strict=strict,
            device=choose_device(device, precision.value),
            precision=precision.value,
        )
        named = {names[modality]: video for modality, video in videos.items()}
        with ProgressBar("fusing") as bar:
            made = fuse_video(network, named, out, options, video_options, progress=bar)
        if made.interrupted:
            raise typer.Exit(130)
        if made.problems:
            raise typer.Exit(2)
        return
    listing = rename_modalities(listing, names)
    if len(listing.pairs) == 1:
        engine, workers = EngineName.local, None  # other machines could not help
    with (
        open_engine(engine, workers, device, precision) as (chosen, place),
        ProgressBar("fusing") as bar,
    ):
        folder_options = FolderOptions(
            format=OutputFormat(
                None if format is None else f".{format.removeprefix('.')}", quality
            ),
            overwrite=overwrite,
            strict=strict,
            device=place,
            precision=precision.value,
            engine=chosen,
        )
        report = fuse_files(network, listing, out, options, folder_options, progress=bar)
    if report.failures:
        raise typer.Exit(2)
