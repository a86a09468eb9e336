"""``fusionkit metrics``."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

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
    from rich.console import Console
    from rich.table import Table

    from fusionkit.evaluation.scores import ProfileComparison
    from fusionkit.inference.engines import Engine
    from fusionkit.inference.failures import Failure
    from fusionkit.interfaces import Metric

T = TypeVar("T")

logger = logging.getLogger("fusionkit")


@app.command()
def metrics(
    fused: Annotated[
        list[str],
        typer.Option(
            metavar="[NAME=]FOLDER",
            help="Folder of fused images; repeat the option to compare methods.",
        ),
    ],
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
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print means, scores and failures as JSON on standard output, not CSV."
        ),
    ] = False,
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

    With several `--fused` folders, the table has a row for each method, the best mean place first.
    The first three of each metric are marked (1) to (3) and coloured, and the CSV begins with a
    column `method`.

    An image that can't be scored has no rows. The reason is reported at the end, the others are
    scored, and the exit code is 2. With `--csv scores.csv`, the reasons are in
    `scores.failures.csv` as well.

    Example:

    ```bash
    fusionkit metrics --fused fused/ --source infrared=ir/ --source visible=vi/
    fusionkit metrics --fused a/ --fused b/ --source ir=i/ --source vi=v/ --json
    ```
    """
    from fusionkit.evaluation.scores import Score, means, metrics_of, score_folders
    from fusionkit.inference.failures import Failure
    from fusionkit.io.atomic_write import atomic_write, make_folder
    from fusionkit.io.csv_text import csv_text
    from fusionkit.io.images import list_images
    from fusionkit.progress import ProgressBar
    from fusionkit.registry.plugins import load_installed_plugins

    sources = parse_sources(source)
    methods = _parse_methods(fused)
    if compare:
        if profile or metric or as_json or len(methods) > 1:
            raise FusionkitError(
                "--compare-profiles shows all metrics of all profiles for one folder; "
                "leave out --profile, --metric, --json and all --fused but one"
            )
        with open_engine(engine, workers, "cpu") as (opened, _):
            [folder] = methods.values()
            comparison = _compare_profiles(folder, sources, csv, strict, opened)
        _print_comparison(comparison)
        _report(comparison.failures, csv)
        return
    profile = profile or "cddfuse"
    chosen = metrics_of(load_installed_plugins().registry, profile, metric)
    if csv is not None:
        make_folder(csv.parent)
    images = sum(len(list_images(folder)) for folder in methods.values())
    failures: list[Failure] = []
    scored: dict[str, dict[str, dict[str, float]]] = {name: {} for name in methods}
    summary: dict[str, dict[str, tuple[float, float]]] = {}
    several = len(methods) > 1
    with ExitStack() as stack:
        file = sys.stdout  # which open_engine may replace
        if csv is not None:
            temporary = stack.enter_context(atomic_write(csv))
            file = stack.enter_context(temporary.open("w", encoding="utf-8", newline=""))
        rows_wanted = csv is not None or not as_json
        opened, _ = stack.enter_context(open_engine(engine, workers, "cpu"))
        bar = stack.enter_context(ProgressBar("scoring", images))
        columns = ("image", "metric", "value")
        header = [("method", *columns) if several else columns]  # until it is written
        for name, folder in methods.items():
            results = score_folders(folder, sources, chosen, bar, strict, opened)
            stack.enter_context(closing(results))

            def write_rows(
                name: str = name, results: Iterable[list[Score] | Failure] = results
            ) -> Iterator[Score]:
                """Write each image's rows as soon as they are there."""
                start = (name,) if several else ()
                for result in results:
                    if isinstance(result, Failure):
                        failures.append(result)
                        continue
                    if rows_wanted:
                        rows = [(*start, s.image, s.metric, s.value) for s in result]
                        file.write(csv_text([*header, *rows]))
                        file.flush()
                        header.clear()
                    if as_json:
                        scored[name][result[0].image] = {s.metric: s.value for s in result}
                    elif several:
                        scored[name][result[0].image] = {}
                    yield from result

            summary[name] = means(write_rows())
        if rows_wanted and header:
            file.write(csv_text(header))
        if as_json:
            document = _document(profile, chosen, summary, scored, failures)
            sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    if several:
        if len({frozenset(found) for found in scored.values()}) > 1:
            logger.warning("the methods are not scored on the same images; their places mislead")
        _print_places(f"profile {profile}", chosen, summary)
    else:
        [only] = summary.values()
        _print_means(f"profile {profile}, {images - len(failures)} images", chosen, only)
    _report(failures, csv)


def _parse_methods(fused: Sequence[str]) -> dict[str, Path]:
    """Return the folder of each method; a folder without a name is called as it is."""
    methods: dict[str, Path] = {}
    for text in fused:
        name, equals, folder = text.partition("=")
        if not equals or os.path.lexists(text):
            name, folder = Path(text).absolute().name, text
        if name in methods:
            raise FusionkitError(
                f"two folders of fused images are called {name!r}; name one as "
                f"--fused OTHER={folder}"
            )
        methods[name] = Path(folder)
    return methods


def _document(
    profile: str,
    chosen: Sequence[Metric],
    summary: Mapping[str, Mapping[str, tuple[float, float]]],
    scored: Mapping[str, Mapping[str, Mapping[str, float]]],
    failures: Sequence[Failure],
) -> dict[str, object]:
    """Return what ``--json`` prints."""
    return {
        "profile": profile,
        "better": {m.name: "higher" if m.higher_is_better else "lower" for m in chosen},
        "methods": {
            name: {
                "means": {metric: mean for metric, (mean, _) in values.items()},
                "standard_deviations": {metric: spread for metric, (_, spread) in values.items()},
                "images": scored[name],
            }
            for name, values in summary.items()
        },
        "failures": [
            {"files": [str(file) for file in failure.files], "reason": failure.reason}
            for failure in failures
        ],
    }


def _print_means(
    title: str, chosen: Sequence[Metric], summary: Mapping[str, tuple[float, float]]
) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title)
    for column in ("metric", "mean", "std", "better"):
        table.add_column(column, justify="left" if column in ("metric", "better") else "right")
    better = {m.name: "higher" if m.higher_is_better else "lower" for m in chosen}
    for name, (mean, spread) in summary.items():
        table.add_row(name, f"{mean:.4f}", f"{spread:.4f}", better[name])
    Console(stderr=True).print(table)


_COLOURS = ("bold green", "cyan", "yellow")
"""Of the first three places."""


def _print_places(
    title: str,
    chosen: Sequence[Metric],
    summary: Mapping[str, Mapping[str, tuple[float, float]]],
) -> None:
    """Print the methods by their mean place over the metrics, with the places of each metric."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text
    from scipy.stats import rankdata

    names = [name for name, values in summary.items() if values]
    if not names:
        return
    places: dict[str, dict[str, int]] = {}
    for metric in chosen:
        sign = -1 if metric.higher_is_better else 1
        found = rankdata([sign * summary[name][metric.name][0] for name in names], method="min")
        places[metric.name] = {n: int(place) for n, place in zip(names, found, strict=True)}
    mean = {n: sum(p[n] for p in places.values()) / len(places) for n in names}
    names.sort(key=lambda name: mean[name])

    def table_of(title: str, metrics: Sequence[Metric]) -> Table:
        table = Table(title=title)
        table.add_column("method", no_wrap=True)
        table.add_column("mean place", justify="right", no_wrap=True)
        for metric in metrics:
            arrow = "higher" if metric.higher_is_better else "lower"
            table.add_column(f"{metric.name}\n{arrow}", justify="right", no_wrap=True)
        for name in names:
            cells = []
            for metric in metrics:
                place = places[metric.name][name]
                marked = place <= len(_COLOURS)
                text = f"{summary[name][metric.name][0]:.4f}" + (f" ({place})" if marked else "")
                cells.append(Text(text, style=_COLOURS[place - 1] if marked else ""))
            table.add_row(Text(name), f"{mean[name]:.2f}", *cells)
        return table

    _print_in_parts(Console(stderr=True), title, "more metrics", chosen, table_of)


def _print_in_parts(
    console: Console,
    title: str,
    next_title: str,
    columns: Sequence[T],
    table_of: Callable[[str, Sequence[T]], Table],
) -> None:
    """Print a table, or several where the terminal is too narrow for all columns."""
    unlimited = console.options.update(max_width=10_000)
    shown: list[T] = []
    for column in columns:
        wider = table_of(title, [*shown, column])
        if shown and console.measure(wider, options=unlimited).maximum > console.width:
            console.print(table_of(title, shown))
            title, shown = next_title, []
        shown.append(column)
    if shown:
        console.print(table_of(title, shown))


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
    from rich.table import Table

    from fusionkit.evaluation.scores import means

    tables = {profile: means(scores) for profile, scores in comparison.scores.items()}
    names = list(dict.fromkeys(name for values in tables.values() for name in values))

    def table_of(title: str, profiles: Sequence[str]) -> Table:
        """Return a table of the metrics that one of the profiles defines."""
        table = Table(title=title)
        table.add_column("metric", no_wrap=True)
        for profile in profiles:
            table.add_column(profile, justify="right", no_wrap=True)
        for name in names:
            found = [tables[profile].get(name) for profile in profiles]
            if any(found):
                table.add_row(name, *("-" if v is None else f"{v[0]:.4f}" for v in found))
        return table

    title = "means under each profile (-: the profile does not define the metric)"
    _print_in_parts(Console(), title, "more profiles", list(tables), table_of)
    for note in comparison.notes:
        logger.info(note)
