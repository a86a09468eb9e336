"""``fusionkit metrics``."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fusionkit.cli.application import app
from fusionkit.cli.options import (
    EngineName,
    EngineOption,
    MaxPixels,
    PluginFiles,
    Sources,
    WorkersOption,
    open_engine,
    parse_sources,
)
from fusionkit.errors import FusionkitError

if TYPE_CHECKING:
    from rich.table import Table

    from fusionkit.evaluation.scores import ProfileComparison
    from fusionkit.inference.engines import Engine
    from fusionkit.inference.failures import Failure

logger = logging.getLogger("fusionkit")


@app.command()
def metrics(
    fused: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder of fused images.")],
    source: Sources,
    profile: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Evaluation code to agree with. By default `cddfuse`.",
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Metric to compute; repeat the option for more. By default all metrics of the "
            "profile.",
        ),
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare-profiles", help="Show the means under all profiles.")
    ] = False,
    csv: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="File for the scores of each image. By default standard output.",
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first image that can't be scored.")
    ] = False,
    engine: EngineOption = EngineName.local,
    workers: WorkersOption = None,
    max_pixels: MaxPixels = None,
    plugin_files: PluginFiles = None,
) -> None:
    """Score fused images against their sources.

    The command prints the scores of each image as CSV (image, metric, value) on standard output,
    and a table of means and standard deviations on standard error. Published codes define the
    same metrics in different ways; a profile names the code to follow.

    An image that can't be scored has no rows. The reason is reported at the end, the others are
    scored, and the exit code is 2. With `--csv scores.csv`, the reasons are in
    `scores.failures.csv` as well.

    Example:

    ```bash
    fusionkit metrics --fused fused/ --source infrared=ir/ --source visible=vi/
    ```
    """
    from rich.console import Console
    from rich.table import Table

    from fusionkit.evaluation.scores import Score, means, metrics_of, score_folders, to_csv
    from fusionkit.inference.failures import Failure
    from fusionkit.io.atomic_write import atomic_write, make_folder
    from fusionkit.io.images import list_images
    from fusionkit.progress import ProgressBar
    from fusionkit.registry.plugins import load_installed_plugins

    sources = parse_sources(source)
    if compare:
        if profile or metric:
            raise FusionkitError(
                "--compare-profiles shows all metrics of all profiles; "
                "leave out --profile and --metric"
            )
        with open_engine(engine, workers, "cpu") as (opened, _):
            comparison = _compare_profiles(fused, sources, csv, strict, opened)
        _print_comparison(comparison)
        _report(comparison.failures, csv)
        return
    profile = profile or "cddfuse"
    chosen = metrics_of(load_installed_plugins().registry, profile, metric)
    if csv is not None:
        make_folder(csv.parent)
    images = len(list_images(fused))
    failures: list[Failure] = []
    with ExitStack() as stack:
        file = sys.stdout  # which open_engine may replace
        if csv is not None:
            temporary = stack.enter_context(atomic_write(csv))
            file = stack.enter_context(temporary.open("w", encoding="utf-8", newline=""))
        opened, _ = stack.enter_context(open_engine(engine, workers, "cpu"))
        bar = stack.enter_context(ProgressBar("scoring", images))
        results = score_folders(fused, sources, chosen, bar, strict, opened)
        stack.enter_context(closing(results))

        def write_rows() -> Iterator[Score]:
            """Write each image's rows as soon as they are there."""
            header = True
            for result in results:
                if isinstance(result, Failure):
                    failures.append(result)
                else:
                    file.write(to_csv(result, header=header))
                    file.flush()
                    header = False
                    yield from result
            if header:
                file.write(to_csv([]))

        summary = means(write_rows())
    table = Table(title=f"profile {profile}, {images - len(failures)} images")
    for column in ("metric", "mean", "std", "better"):
        table.add_column(column, justify="left" if column in ("metric", "better") else "right")
    better = {m.name: "higher" if m.higher_is_better else "lower" for m in chosen}
    for name, (mean, spread) in summary.items():
        table.add_row(name, f"{mean:.4f}", f"{spread:.4f}", better[name])
    Console(stderr=True).print(table)
    _report(failures, csv)


def _report(failures: Sequence[Failure], csv: Path | None) -> None:
    """Log what could not be scored, and exit with code 2 if there is anything.

    The list beside the scores has a name of its own, so that it never replaces that of ``fuse``.
    """
    from fusionkit.inference.failures import write_failures

    if csv is not None:
        write_failures(csv.parent, failures, f"{csv.stem}.failures.csv")
    if not failures:
        return
    logger.error("%d image%s could not be scored:", len(failures), "s"[: len(failures) > 1])
    for failure in failures:
        logger.error("%s: %s", failure.files[0], failure.reason)
    raise typer.Exit(2)


def _compare_profiles(
    fused: Path, sources: dict[str, Path], csv: Path | None, strict: bool, engine: Engine
) -> ProfileComparison:
    """Score under all profiles, and write the scores."""
    from fusionkit.evaluation.scores import compare_profiles
    from fusionkit.io.atomic_write import make_folder, write_text
    from fusionkit.io.csv_text import csv_text
    from fusionkit.io.images import list_images
    from fusionkit.progress import ProgressBar
    from fusionkit.registry.plugins import load_installed_plugins

    if csv is not None:
        make_folder(csv.parent)
    registry = load_installed_plugins().registry
    with ProgressBar("scoring", len(list_images(fused))) as bar:
        comparison = compare_profiles(registry, fused, sources, strict, progress=bar, engine=engine)
    if csv is not None:
        rows = [
            (profile, score.image, score.metric, score.value)
            for profile, scores in comparison.scores.items()
            for score in scores
        ]
        write_text(csv, csv_text([("profile", "image", "metric", "value"), *rows]))
    return comparison


def _print_comparison(comparison: ProfileComparison) -> None:
    from rich.console import Console

    from fusionkit.evaluation.scores import means

    tables = {profile: means(scores) for profile, scores in comparison.scores.items()}
    names = list(dict.fromkeys(name for values in tables.values() for name in values))
    console = Console()
    unlimited = console.options.update(max_width=10_000)
    title = "means under each profile (-: the profile does not define the metric)"
    table: Table | None = None
    shown: list[str] = []
    for profile in tables:
        wider = _table_of_profiles(title, names, tables, [*shown, profile])
        if table is not None and console.measure(wider, options=unlimited).maximum > console.width:
            console.print(table)
            title, shown = "more profiles", []
        shown.append(profile)
        table = _table_of_profiles(title, names, tables, shown)
    if table is not None:
        console.print(table)
    for note in comparison.notes:
        logger.info(note)


def _table_of_profiles(
    title: str,
    names: Sequence[str],
    means: Mapping[str, Mapping[str, tuple[float, float]]],
    profiles: Sequence[str],
) -> Table:
    """Return a table of the metrics that one of the profiles defines."""
    from rich.table import Table

    table = Table(title=title)
    table.add_column("metric", no_wrap=True)
    for profile in profiles:
        table.add_column(profile, justify="right", no_wrap=True)
    for name in names:
        found = [means[profile].get(name) for profile in profiles]
        if any(found):
            table.add_row(name, *("-" if value is None else f"{value[0]:.4f}" for value in found))
    return table
