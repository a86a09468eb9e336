"""All commands as a user types them: help, and what is wrong in one sentence."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
import typer
from PIL import Image
from typer.testing import CliRunner

import fusionkit as fk
from fusionkit import cli
from fusionkit.cli.answers import COMMANDS, overview

ROOT = Path(__file__).parents[3]


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True)


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"], ["--version"]])
def test_help_and_version_import_neither_commands_nor_typer(arguments):
    code = (
        f"import sys\nfrom fusionkit import cli\nsys.argv = ['fusionkit', *{arguments}]\n"
        "try: cli.main()\nfinally: assert not {'torch', 'typer', 'pluggy'} & set(sys.modules)"
    )
    result = python("-c", code)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split()[:2] in (["Usage:", "fusionkit"], ["fusionkit", fk.__version__])


def test_the_overview_says_what_the_commands_say():
    group = typer.main.get_command(cli.app)
    said = {
        name: " ".join(command.help.split("\n\n")[0].split())
        for name, command in group.commands.items()
    }
    assert list(COMMANDS.items()) == list(said.items())
    assert CliRunner().invoke(cli.app, ["--help"]).stdout.rstrip() == overview()


def test_python_m_fusionkit_is_the_command_line():
    result = python("-m", "fusionkit", "--version")
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["fusionkit", fk.__version__]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fuse", "-o", "x", "--backbone", "max", "--source", "ir"], "found 'ir'"),
        (
            ["fuse", "-o", "x", "--backbone", "max", "--source", "a=b"],
            "found 1",
        ),
        (["run", "emme.yaml"], "did you mean 'emma.yaml'"),
        (["run", "emma.yaml", "stages.train-sensors.epochs=x"], "stages[0].epochs"),
        (["plugins", "show", "backbone", "ufusr"], "did you mean 'ufuser'"),
        (["convert", "no.pth", "x.safetensors", "--as", "ufuser"], "there is no file no.pth"),
    ],
)
def test_wrong_commands(fusionkit, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, _, said = fusionkit(*arguments)
    assert code == 2
    assert message in said
    assert not list(tmp_path.iterdir())


def test_without_emma_the_core_starts_and_names_what_is_missing(fusionkit, monkeypatch):
    monkeypatch.setenv("FUSIONKIT_DISABLE_PLUGINS", "fusionkit-emma")
    code, out, _ = fusionkit("plugins", "list")
    assert code == 0
    assert "ufuser" not in out
    assert "laplacian-pyramid" in out
    code, _, said = fusionkit("run", "emma.yaml")
    assert code == 2
    assert "emma.yaml" in said
    code, _, said = fusionkit("run", ROOT / "plugins/fusionkit_emma/recipes/emma.yaml")
    assert code == 2
    for missing in ("sensor", "'ufuser'", "transform", "'train-sensors'", "fusionkit-emma"):
        assert missing in said


def broken_png(root: Path) -> None:
    data = (root / "vi" / "b.png").read_bytes()
    (root / "vi" / "b.png").write_bytes(data[: len(data) // 2])


def unequal(root: Path) -> None:
    Image.new("L", (10, 10)).save(root / "ir" / "b.png")


def nan_tiff(root: Path) -> None:
    (root / "ir" / "b.png").unlink()
    pixels = np.full((50, 67), 0.5, np.float32)
    pixels[3, 4] = np.nan
    tifffile.imwrite(root / "ir" / "b.tif", pixels)


def lonely(root: Path) -> None:
    (root / "ir" / "b.png").unlink()


def empty(root: Path) -> None:
    for path in (root / "ir").iterdir():
        path.unlink()


def missing(root: Path) -> None:
    empty(root)
    (root / "ir").rmdir()


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (broken_png, "b.png is damaged"),
        (unequal, "(height x width): b (infrared 10x10, visible 50x67)"),
        (nan_tiff, "found 1 pixels that are NaN or infinite, the first at row 3, column 4"),
        (lonely, "b (no infrared)"),
        (empty, "ir, found none"),
        (missing, "ir does not exist"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
@pytest.mark.parametrize("command", ["fuse", "run"])
def test_bad_images_get_one_sentence_and_exit_code_2(
    fusionkit, pairs, sources, harm, message, command
):
    harm(pairs)
    if command == "fuse":
        code, out, said = fusionkit("fuse", *sources, "-o", pairs / "out", "--backbone", "average")
    else:
        code, out, said = fusionkit(
            "run",
            "emma.yaml",
            "data.name=paired-folders",
            f"data.folders.infrared={pairs / 'ir'}",
            f"data.folders.visible={pairs / 'vi'}",
            "data.patch=48",
            "--out",
            pairs / "out",
        )
        assert not (pairs / "out").exists()
    # `fuse` leaves out an image without a partner, and says so.
    assert code == (0 if (command, harm) == ("fuse", lonely) else 2)
    assert out == ""
    assert message in said
    assert "Traceback" not in said
    if command == "run" or harm in (empty, missing):
        assert said.startswith("error: ")
        assert not (pairs / "out").exists()
    else:  # the other pair is fused
        found = sorted(path.name for path in (pairs / "out").glob("[!.]*"))
        assert found == (["a.png"] if harm is lonely else ["a.png", "failures.csv"])


def all_commands(group=None, name: str = "fusionkit") -> dict[str, typer.core.TyperCommand]:
    group = group or typer.main.get_command(cli.app)
    found = {}
    for word, command in group.commands.items():
        if hasattr(command, "commands"):
            found |= all_commands(command, f"{name} {word}")
        else:
            found[f"{name} {word}"] = command
    return found


@pytest.mark.parametrize("name", all_commands())
def test_help_explains_every_option_and_its_examples_are_valid(name):
    command = all_commands()[name]
    context = command.make_context(name, [], resilient_parsing=True)
    for parameter in command.get_params(context):
        assert parameter.help, parameter.name
    examples = re.findall(r"^ *(fusionkit .*)$", command.help, re.MULTILINE)
    assert examples
    for example in examples:
        assert len(example) <= 76, "longer lines wrap in a terminal of 80 columns"
        words = shlex.split(example.partition(" > ")[0])
        own = name.split()
        assert words[: len(own)] == own
        command.make_parser(context).parse_args(words[len(own) :])
