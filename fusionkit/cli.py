"""The command line. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fusionkit.errors import FusionkitError

if TYPE_CHECKING:
    from fusionkit.interfaces import Backbone
    from fusionkit.listing import Listing

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Multi-modality image fusion without ground truth, as plugins of a small core.",
)
plugins_app = typer.Typer(no_args_is_help=True, help="What the installed plugins bring.")
app.add_typer(plugins_app, name="plugins")


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


def main() -> None:
    """Run the command line: exit 0 done, 2 the user's mistake in one message, 1 a fault of ours."""
    try:
        app(standalone_mode=True)
    except FusionkitError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from the last epoch saved", file=sys.stderr)
        sys.exit(130)


@app.command()
def run(
    config: Annotated[str, typer.Argument(help="A YAML file, or a recipe such as emma.yaml.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="data.size=64 ...")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The run folder; runs/NAME if not given.")
    ] = None,
    restart: Annotated[
        bool, typer.Option(help="Run again what the configuration has changed, or everything.")
    ] = False,
) -> None:
    """Train, fuse, evaluate and report as a configuration says; again goes on where it stopped."""
    from fusionkit.api import installed
    from fusionkit.config import load_config
    from fusionkit.pipeline import run_pipeline

    plugins = installed()
    loaded = load_config(config, overrides or [], plugins)
    folder = out or Path("runs") / loaded.config.name
    finished = run_pipeline(loaded, plugins, folder, restart=restart, say=_say)
    if finished.is_first:
        report = folder / "report.html"
        _say(f"done: {report if report.is_file() else folder}")


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
) -> None:
    """Fuse a pair of images, or folders of them paired by file name; sizes and depth stay."""
    from fusionkit.fusing import fuse_files
    from fusionkit.progress import ProgressBar
    from fusionkit.symmetry import symmetrized
    from fusionkit.windows import split_windows

    sources = _sources(source)
    windows = split_windows(window or [])
    network, names = _model(model, backbone, sources)
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
            say=_say,
        )
    finally:
        if bar:
            bar[0].__exit__(None, None, None)
    _say(f"{len(written)} fused image{'s' if len(written) != 1 else ''} in {out}")


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
) -> None:
    """Measure how far fusing is from commuting with transforms: ||F(T x) - T F(x)||."""
    from rich.console import Console
    from rich.table import Table

    from fusionkit.api import installed
    from fusionkit.arguments import spec_from_text
    from fusionkit.auditing import audit as measure
    from fusionkit.auditing import summary, write_audit
    from fusionkit.fusing import read_samples
    from fusionkit.pairs import find_pairs
    from fusionkit.progress import ProgressBar
    from fusionkit.symmetry import symmetrized

    sources = _sources(source)
    registry = installed().registry
    specs = {
        text: spec_from_text(registry, "transform", text)
        for text in transform or registry.names("transform")
    }
    groups = {text: registry.build(spec) for text, spec in specs.items()}
    network, names = _model(model, backbone, sources)
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
    _say(f"{out / 'audit.csv'}: each element on each pair; {out / 'audit.png'}: the worst")


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
) -> None:
    """Score fused images against their sources: CSV per image, and the means as a table."""
    from rich.console import Console
    from rich.table import Table

    from fusionkit.api import installed
    from fusionkit.files import make_folder, write_text
    from fusionkit.images import list_images
    from fusionkit.progress import ProgressBar
    from fusionkit.scoring import means, metrics_of, score_folders, to_csv

    sources = _sources(source)
    if compare:
        if profile or metric:
            raise FusionkitError("--compare-profiles shows all profiles and metrics; name neither")
        _compare_profiles(fused, sources, csv)
        return
    profile = profile or "cddfuse"
    chosen = metrics_of(installed().registry, profile, metric)
    if csv is not None:
        make_folder(csv.parent)
    with ProgressBar("scoring", len(list_images(fused))) as bar:
        scores = score_folders(fused, sources, chosen, bar.step)
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
) -> None:
    """Compare methods on data sets by tasks; again goes on where it stopped."""
    from rich.console import Console

    from fusionkit.api import installed
    from fusionkit.benchmark.bench import run_suite
    from fusionkit.benchmark.suite import load_suite
    from fusionkit.benchmark.tables import print_table

    plugins = installed()
    loaded = load_suite(suite, overrides or [], plugins)
    folder = out or Path("bench") / loaded.config.name
    results = run_suite(loaded, plugins, folder, say=_say)
    print_table(results, Console(stderr=True))
    _say(f"done: {folder / 'report.html'}")


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
) -> None:
    """Write a split manifest: names and hashes, with neighbouring frames on one side."""
    from fusionkit.api import installed
    from fusionkit.benchmark.suite import load_suite
    from fusionkit.files import make_folder
    from fusionkit.splits import make_manifest

    plugins = installed()
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
        _say(f"{name}: {len(entries)} scenes in {groups} groups")


@app.command()
def schema(
    suite: Annotated[bool, typer.Option("--suite", help="Of suites of `bench` instead.")] = False,
) -> None:
    """Print the JSON schema of recipes with every installed component, for editors."""
    import json

    from fusionkit.api import installed
    from fusionkit.benchmark.suite import suite_schema
    from fusionkit.config import json_schema

    print(json.dumps((suite_schema if suite else json_schema)(installed().registry), indent=2))


@app.command()
def convert(
    official: Annotated[Path, typer.Argument(help="A .pth file of the official EMMA code.")],
    out: Annotated[Path, typer.Argument(help="The .safetensors file to write.")],
    kind: Annotated[str, typer.Option("--as", help="ufuser or unet5.")],
) -> None:
    """Turn official weights into a file that rebuilds its own network."""
    from fusionkit.converting import convert_official

    name = convert_official(official, out, kind)
    _say(f"{out}: {name}")


@app.command()
def doctor() -> None:
    """Say which versions, devices and plugins there are, and which plugins are broken."""
    from fusionkit.api import installed
    from fusionkit.environment import environment
    from fusionkit.listing import listing_of

    values = environment()
    versions = "\n".join(f"  {name} {version}" for name, version in values["versions"].items())
    print(f"python {values['python']} on {values['system']}\n{versions}")
    print(f"devices\n  {values['cpus']} CPU cores, torch uses {values['threads']}")
    for gpu in values["gpus"]:
        print(f"  {gpu}")
    print("plugins")
    _print_plugins(listing_of(installed()))
    if installed().broken:
        raise SystemExit(2)


@app.command()
def models(
    name: Annotated[str | None, typer.Argument(help="Whose card to print.")] = None,
) -> None:
    """List the trained models that are installed, or print the card of one."""
    from rich.console import Console
    from rich.table import Table

    from fusionkit.api import installed
    from fusionkit.models import card_text, model_named

    there = installed().models
    if name is not None:
        model = model_named(name, there)
        model.checked()
        print(card_text(model), end="")
        return
    if not there:
        _say("no installed plugin ships a trained model")
        return
    table = Table()
    for column in ("model", "fuses", "MB", "SHA-256", "what it is"):
        table.add_column(column)
    for key, model in sorted(there.items()):
        size = f"{model.checked().stat().st_size / 1e6:.1f}"
        card = model.card
        table.add_row(key, ", ".join(card.modalities), size, card.sha256[:12], card.summary)
    Console().print(table)
    _say("fusionkit models NAME: data, terms, metrics and limits of one")


@plugins_app.command("list")
def plugins_list() -> None:
    """List the plugins, with what each brings."""
    from fusionkit.listing import installed_listing

    listing = installed_listing()
    _print_plugins(listing)
    for kind, pairs in listing.components.items():
        print(kind)
        for name, plugin in pairs:
            print(f"  {name}  ({plugin})")
    if listing.recipes:
        print("recipes")
        for recipe in listing.recipes:
            print(f"  {recipe}")
    if listing.models:
        print("models")
        for model in listing.models:
            print(f"  {model}")


@plugins_app.command("show")
def plugins_show(
    kind: Annotated[str, typer.Argument(help="backbone, loss, ...")],
    name: Annotated[str, typer.Argument(help="Its name in configurations.")],
) -> None:
    """Show a component: where it comes from, what it does, its arguments."""
    import inspect

    from fusionkit.api import installed
    from fusionkit.arguments import arguments_model
    from fusionkit.signatures import parameters_of

    entry = installed().registry.get(kind, name)
    print(f"{kind} {name}, plugin {entry.plugin}, {entry.cls.__module__}.{entry.cls.__name__}\n")
    print(inspect.getdoc(entry.cls) or "")
    print("\nin a configuration:")
    print(f"  name: {name}")
    for key, field in arguments_model(entry.cls).model_fields.items():
        parameter = parameters_of(entry.cls)[key]
        default = "required" if field.is_required() else repr(field.default)
        print(f"  {key}: {default}    # {parameter.annotation}")


@plugins_app.command("new")
def plugins_new(
    name: Annotated[str, typer.Argument(help="Of package, plugin and component: my-fusion.")],
    kind: Annotated[
        str,
        typer.Option(help="backbone, sensor, transform, loss, metric, dataset, task or stage."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where its folder is made.")] = Path(),
) -> None:
    """Write a complete plugin package that installs, runs and passes its tests at once."""
    from fusionkit.authoring import write_package

    for path in write_package(out, name, kind):
        print(path)
    _say(f"next: pip install -e {out / name} && fusionkit run {name}.yaml && pytest {out / name}")


@plugins_app.command("check")
def plugins_check(
    package: Annotated[str, typer.Argument(help="A plugin, or the package that brings it.")],
    every: Annotated[bool, typer.Option("--all", help="Show passes and skips one by one.")] = False,
) -> None:
    """Check that what an installed package brings keeps the promises of its kinds."""
    from rich.console import Console
    from rich.table import Table

    from fusionkit.api import installed
    from fusionkit.testing import check_plugin

    table = Table(title=f"conformance of {package}")
    for column in ("component", "passed", "skipped", "failed"):
        table.add_column(column, justify="left" if column == "component" else "right")
    counts: dict[str, dict[str, int]] = {}
    for case, outcome in check_plugin(installed(), package):
        own = counts.setdefault(case.component, dict.fromkeys(("passed", "skipped", "failed"), 0))
        own[outcome.state] += 1
        if every or outcome.state == "failed":
            said = f": {outcome.sentence}" if outcome.sentence else ""
            print(f"{outcome.state}  {case.component}, {case.check.__name__}{said}")
    for component, own in counts.items():
        table.add_row(component, *(str(number) if number else "-" for number in own.values()))
    Console().print(table)
    failed = sum(own["failed"] for own in counts.values())
    if failed:
        raise FusionkitError(f"{failed} checks failed; each is named above with what to mend")


def _print_plugins(listing: Listing) -> None:
    for plugin in listing.plugins:
        state = plugin.complaint or f"{plugin.components} components"
        print(f"  {plugin.name} ({plugin.distribution} {plugin.version}): {state}")
    if not listing.plugins:
        print("  none")


def _compare_profiles(fused: Path, sources: dict[str, Path], csv: Path | None) -> None:
    import io
    from csv import writer

    from rich.console import Console
    from rich.table import Table

    from fusionkit.api import installed
    from fusionkit.files import make_folder, write_text
    from fusionkit.scoring import compare_profiles, means

    if csv is not None:
        make_folder(csv.parent)
    found, notes = compare_profiles(installed().registry, fused, sources)
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
        _say(note)


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


def _sources(options: list[str]) -> dict[str, Path]:
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


def _model(
    model: str | None, backbone: str | None, sources: dict[str, Path]
) -> tuple[Backbone, dict[str, str]]:
    """Return the network, and what it calls each source."""
    from fusionkit.api import build, installed, load
    from fusionkit.models import model_for, names_of

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
    models = installed().models
    if model is None:
        model = model_for(sources, models).card.name
        _say(f"model: {model} (others: fusionkit models)")
    known = names_of(models[model].card, sources) if model in models else None
    return load(model), known or {name: name for name in sources}


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
