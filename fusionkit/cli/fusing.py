"""Commands that apply a fuser to images: fuse, audit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fusionkit.cli.app import app
from fusionkit.cli.options import (
    ModelOption,
    PluginFiles,
    Sources,
    Stretch,
    Symmetry,
    choose_model,
    parse_sources,
    say,
)


@app.command()
def fuse(
    source: Sources,
    out: Annotated[Path, typer.Option("--out", "-o", help="A folder, or a file for one pair.")],
    model: ModelOption = None,
    backbone: Annotated[
        str | None, typer.Option(help="Name of a backbone that needs no training.")
    ] = None,
    colour: Annotated[
        str | None,
        typer.Option(help="Modality whose colour to keep, or none; found out if not given."),
    ] = None,
    stretch: Annotated[
        Stretch, typer.Option(help="minmax: stretch each image to the whole range.")
    ] = Stretch.none,
    symmetrize: Annotated[
        Symmetry, typer.Option(help="Average over reflections (4 passes) or d4 (8 passes).")
    ] = Symmetry.none,
    window: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODALITY=LOW:HIGH",
            help="Values that become black and white; LOW%:HIGH% of all images, or full.",
        ),
    ] = None,
    align: Annotated[
        bool, typer.Option("--align", help="Move sources that are some pixels off.")
    ] = False,
    plugin_files: PluginFiles = None,
) -> None:
    """Fuse a pair of images, or folders of them paired by file name; sizes and depth stay."""
    from fusionkit.inference.folders import fuse_files
    from fusionkit.inference.symmetrize import symmetrized
    from fusionkit.io.windows import split_windows
    from fusionkit.progress import ProgressBar

    sources = parse_sources(source)
    windows = split_windows(window or [])
    network, names = choose_model(model, backbone, sources)
    network = symmetrized(network, symmetrize.value)
    bar: list[ProgressBar] = []

    def progress(done: int, total: int, path: Path) -> None:
        if not bar:
            bar.append(ProgressBar("fusing", total).__enter__())
        bar[0].step()

    try:
        written = fuse_files(
            network,
            {names[modality]: path for modality, path in sources.items()},
            out,
            colour=None if colour is None else names.get(colour, colour),
            stretch=stretch.value,
            windows={names.get(modality, modality): text for modality, text in windows.items()},
            resample=True,
            align=align,
            progress=progress,
            say=say,
        )
    finally:
        if bar:
            bar[0].__exit__(None, None, None)
    say(f"{len(written)} fused image{'s' if len(written) != 1 else ''} in {out}")


@app.command()
def audit(
    source: Sources,
    model: ModelOption = None,
    backbone: Annotated[
        str | None, typer.Option(help="Name of a backbone that needs no training.")
    ] = None,
    transform: Annotated[
        list[str] | None,
        typer.Option(help="A group, as shift or {name: shift, circular: false}; all if not given."),
    ] = None,
    symmetrize: Annotated[
        Symmetry, typer.Option(help="Average over reflections (4 passes) or d4 (8 passes).")
    ] = Symmetry.none,
    count: Annotated[int, typer.Option(min=1, help="Elements of each group.")] = 5,
    margin: Annotated[
        int, typer.Option(min=0, help="Pixels next to invalid ones to leave out.")
    ] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many pairs.")] = None,
    seed: Annotated[int, typer.Option(help="Of the elements that are drawn.")] = 0,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for audit.csv and audit.png.")
    ] = Path("audit"),
    plugin_files: PluginFiles = None,
) -> None:
    """Measure how far fusing is from commuting with transforms: ||F(T x) - T F(x)||."""
    from rich.console import Console
    from rich.table import Table

    from fusionkit.evaluation.equivariance import audit as measure
    from fusionkit.evaluation.equivariance import summary, write_audit
    from fusionkit.inference.folders import read_samples
    from fusionkit.inference.symmetrize import symmetrized
    from fusionkit.io.pairs import find_pairs
    from fusionkit.progress import ProgressBar
    from fusionkit.registry.arguments import spec_from_text
    from fusionkit.registry.plugins import load_installed_plugins

    sources = parse_sources(source)
    registry = load_installed_plugins().registry
    specs = {
        text: spec_from_text(registry, "transform", text)
        for text in transform or registry.names("transform")
    }
    groups = {text: registry.build(spec) for text, spec in specs.items()}
    network, names = choose_model(model, backbone, sources)
    network = symmetrized(network, symmetrize.value)
    sources = {names[modality]: path for modality, path in sources.items()}
    pairs = find_pairs(sources)[:limit]
    with ProgressBar("auditing", len(pairs)) as bar:
        lines, examples = measure(
            network,
            read_samples(pairs),
            groups,
            count=count,
            margin=margin,
            seed=seed,
            progress=bar.step,
        )
    write_audit(out, lines, examples)
    table = Table(title=f"equivariance of {network.name} on {len(pairs)} pairs")
    for column in ("group", "elements", "RMSE", "PSNR / dB", "worst"):
        table.add_column(column, justify="left" if column == "group" else "right")
    for name, values in summary(lines).items():
        table.add_row(
            name,
            f"{values['elements']:.0f}",
            f"{values['rmse']:.2e}",
            f"{values['psnr']:.1f}",
            f"{values['worst']:.2e}",
        )
    Console().print(table)
    say(f"{out / 'audit.csv'}: each element on each pair; {out / 'audit.png'}: the worst")
