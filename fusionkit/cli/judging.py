"""Commands that compare: metrics, bench, split."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from fusionkit.cli.app import app
from fusionkit.cli.options import PluginFiles, Sources, parse_sources, say
from fusionkit.errors import FusionkitError


@app.command()
def metrics(
    fused: Annotated[Path, typer.Option(help="Folder of fused images.")],
    source: Sources,
    profile: Annotated[
        str | None, typer.Option(help="Whose conventions; cddfuse if not given.")
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare-profiles", help="All profiles side by side.")
    ] = False,
    metric: Annotated[
        list[str] | None, typer.Option(help="A metric; all of the profile if not given.")
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(help="Write image,metric,value there, not to the output.")
    ] = None,
    plugin_files: PluginFiles = None,
) -> None:
    """Score fused images against their sources: CSV per image, and the means as a table."""
    from rich.console import Console
    from rich.table import Table

    from fusionkit.evaluation.scores import means, metrics_of, score_folders, to_csv
    from fusionkit.io.atomic_write import make_folder, write_text
    from fusionkit.io.images import list_images
    from fusionkit.progress import ProgressBar
    from fusionkit.registry.plugins import load_installed_plugins

    sources = parse_sources(source)
    if compare:
        if profile or metric:
            raise FusionkitError("--compare-profiles shows all profiles and metrics; name neither")
        _compare_profiles(fused, sources, csv)
        return
    profile = profile or "cddfuse"
    chosen = metrics_of(load_installed_plugins().registry, profile, metric)
    if csv is not None:
        make_folder(csv.parent)
    with ProgressBar("scoring", len(list_images(fused))) as bar:
        scores = score_folders(fused, sources, chosen, bar)
    if csv is None:
        sys.stdout.write(to_csv(scores))
    else:
        write_text(csv, to_csv(scores))
    table = Table(title=f"profile {profile}, mean and spread of {len({s.image for s in scores})}")
    for column in ("metric", "mean", "std", "better"):
        table.add_column(column, justify="left" if column in ("metric", "better") else "right")
    better = {m.name: "higher" if m.higher_is_better else "lower" for m in chosen}
    for name, (mean, spread) in means(scores).items():
        table.add_row(name, f"{mean:.4f}", f"{spread:.4f}", better[name])
    Console(stderr=True).print(table)


@app.command()
def bench(
    suite: Annotated[Path, typer.Argument(help="A suite file, such as benchmarks/fusion.yaml.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="size=quick ...")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The folder to work in; bench/NAME if not given.")
    ] = None,
    plugin_files: PluginFiles = None,
) -> None:
    """Compare methods on data sets by tasks; again goes on where it stopped."""
    from rich.console import Console

    from fusionkit.benchmark.bench import run_suite
    from fusionkit.benchmark.suite import load_suite
    from fusionkit.benchmark.tables import print_table
    from fusionkit.registry.plugins import load_installed_plugins

    plugins = load_installed_plugins()
    loaded = load_suite(suite, overrides or [], plugins)
    folder = out or Path("bench") / loaded.config.name
    results = run_suite(loaded, plugins, folder)
    print_table(results, Console(stderr=True))
    say(f"done: {folder / 'report.html'}")


@app.command()
def split(
    suite: Annotated[Path, typer.Argument(help="A suite file that names the data set.")],
    data: Annotated[str, typer.Argument(help="Its name in the suite.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The manifest to write, .json.")],
    part: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FRACTION",
            help="A split and its part (train=0.8); the data set's own splits if not given.",
        ),
    ] = None,
    near: Annotated[
        int, typer.Option(help="Scenes are neighbours if at most so many of 64 bits differ.")
    ] = 6,
    seed: Annotated[int, typer.Option(help="Of the order in which groups are dealt out.")] = 0,
    plugin_files: PluginFiles = None,
) -> None:
    """Write a split manifest: names and hashes, with neighbouring frames on one side."""
    from fusionkit.benchmark.splits import make_manifest
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
        say(f"{name}: {len(entries)} scenes in {groups} groups")


def _compare_profiles(fused: Path, sources: dict[str, Path], csv: Path | None) -> None:
    import io
    from csv import writer

    from rich.console import Console
    from rich.table import Table

    from fusionkit.evaluation.scores import compare_profiles, means
    from fusionkit.io.atomic_write import make_folder, write_text
    from fusionkit.registry.plugins import load_installed_plugins

    if csv is not None:
        make_folder(csv.parent)
    compared = compare_profiles(load_installed_plugins().registry, fused, sources)
    found, notes = compared.scores, compared.notes
    if csv is not None:
        text = io.StringIO()
        lines = writer(text, lineterminator="\n")
        lines.writerow(["profile", "image", "metric", "value"])
        for profile, scores in found.items():
            lines.writerows((profile, s.image, s.metric, repr(s.value)) for s in scores)
        write_text(csv, text.getvalue())
    tables = {profile: means(scores) for profile, scores in found.items()}
    table = Table(title="means under each profile; - where it does not define the metric")
    table.add_column("metric")
    for profile in tables:
        table.add_column(profile, justify="right")
    for name in dict.fromkeys(name for values in tables.values() for name in values):
        cells = (f"{t[name][0]:.4f}" if name in t else "-" for t in tables.values())
        table.add_row(name, *cells)
    Console().print(table)
    for note in notes:
        say(note)


def _fractions(options: list[str] | None) -> dict[str, float] | None:
    if not options:
        return None
    fractions = {}
    for option in options:
        name, _, text = option.partition("=")
        try:
            fractions[name] = float(text)
        except ValueError:
            raise FusionkitError(f"expected --part NAME=FRACTION, found {option!r}") from None
    return fractions
