"""``fusionkit audit``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from fusionkit.cli.application import app
from fusionkit.cli.options import (
    BackboneOption,
    DeviceOption,
    ExactOption,
    ModelOption,
    PluginFiles,
    Precision,
    PrecisionOption,
    Sources,
    Symmetry,
    SymmetryOption,
    allowed_device,
    choose_model,
    parse_sources,
)

logger = logging.getLogger("fusionkit")


@app.command()
def audit(
    source: Sources,
    model: ModelOption = None,
    backbone: BackboneOption = None,
    transform: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GROUP",
            help="Transform group, as `shift` or `{name: shift, circular: false}`; repeat the "
            "option for more groups. By default all installed groups.",
        ),
    ] = None,
    symmetrize: SymmetryOption = Symmetry.none,
    exact: ExactOption = False,
    count: Annotated[
        int, typer.Option(min=1, metavar="N", help="Number of elements to draw from each group.")
    ] = 5,
    margin: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="PIXELS",
            help="Width of the border to ignore next to pixels that a transform had to fill in.",
        ),
    ] = 0,
    limit: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Use the first N pairs. By default all pairs."),
    ] = None,
    seed: Annotated[
        int, typer.Option(metavar="N", help="Random seed for drawing the elements.")
    ] = 0,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="FOLDER",
            help="Folder for `audit.html`, `audit.csv` and `audit.png`.",
        ),
    ] = Path("audit"),
    device: DeviceOption = "auto",
    precision: PrecisionOption = Precision.fp32,
    plugin_files: PluginFiles = None,
) -> None:
    """Measure the equivariance of a fuser.

    A fuser F is equivariant if it makes no difference whether sources are transformed before
    fusing or the fused image is transformed after it: F(T x) = T F(x). For shifts, rotations,
    reflections and other transforms T, the command measures how much the two sides differ. It
    prints a table and writes `audit.html`, a page with the table and the worst cases, and
    `audit.csv` with each measurement.

    Examples:

    ```bash
    fusionkit audit --source infrared=ir/ --source visible=vi/ --limit 10
    fusionkit audit --source infrared=ir/ --source visible=vi/ --backbone max
    ```
    """
    from rich.console import Console
    from rich.table import Table

    from fusionkit.evaluation.equivariance import audit as measure
    from fusionkit.evaluation.equivariance import summarize_audit, write_audit
    from fusionkit.inference.devices import choose_device, in_precision
    from fusionkit.inference.preprocessing import read_samples
    from fusionkit.inference.symmetrize import symmetrized
    from fusionkit.io.pairs import find_pairs
    from fusionkit.progress import ProgressBar
    from fusionkit.registry.arguments import spec_from_text
    from fusionkit.registry.plugins import load_installed_plugins
    from fusionkit.reporting.audit_report import write_audit_page

    sources = parse_sources(source)
    registry = load_installed_plugins().registry
    specs = {
        text: spec_from_text(registry, "transform", text)
        for text in transform or registry.names("transform")
    }
    groups = {text: registry.build(spec) for text, spec in specs.items()}
    network, names = choose_model(model, backbone, sources, exact=exact)
    device = allowed_device(network, device, precision)
    chosen = choose_device(device, precision.value)
    title = network.name
    if symmetrize is not Symmetry.none:
        title += f", symmetrized over {symmetrize.value}"
    network = symmetrized(network, symmetrize.value)
    sources = {names[modality]: path for modality, path in sources.items()}
    pairs = find_pairs(sources)[:limit]
    network = network.to(chosen)
    with ProgressBar("auditing", len(pairs)) as bar, in_precision(chosen, precision.value):
        lines, examples = measure(
            network,
            read_samples(pairs),
            groups,
            count=count,
            margin=margin,
            seed=seed,
            progress=bar,
        )
    write_audit(out, lines, examples)
    write_audit_page(out, title, lines, examples, seed=seed)
    count_of_pairs = f"{len(pairs)} pair{'' if len(pairs) == 1 else 's'}"
    table = Table(title=f"equivariance of {title} on {count_of_pairs}")
    for column in ("group", "elements", "RMSE", "PSNR / dB", "worst"):
        table.add_column(column, justify="left" if column == "group" else "right")
    for name, error in summarize_audit(lines).items():
        table.add_row(
            name,
            str(error.elements),
            f"{error.rmse:.2e}",
            f"{error.psnr:.1f}",
            f"{error.worst:.2e}",
        )
    Console().print(table)
    logger.info("%s: all measurements; %s: the worst cases", out / "audit.csv", out / "audit.html")
