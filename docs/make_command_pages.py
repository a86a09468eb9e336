"""Makes docs/commands/*.md, a page for each command of ``fusionkit``, from its help text.

python docs/make_command_pages.py
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

import typer
from typer.models import ArgumentInfo

from fusionkit.cli import app

FOLDER = Path(__file__).parent / "commands"

SEE_ALSO = {
    "run": ["../configuration.md", "../method.md"],
    "fuse": [
        "../folders.md",
        "../choosing.md",
        "../models.md",
        "../thermal.md",
        "../colour.md",
        "../video.md",
    ],
    "metrics": ["../metrics.md"],
    "bench": ["../benchmarks.md", "../results/index.md"],
    "split": ["../benchmarks.md", "../datasets.md"],
    "audit": ["../equivariance.md"],
    "models list": ["../models.md"],
    "models show": ["../models.md"],
    "models push": ["../models.md"],
    "export": ["../models.md"],
    "convert": ["../method.md"],
    "schema": ["../configuration.md"],
    "doctor": ["../troubleshooting.md"],
    "data list": ["../datasets.md"],
    "data get": ["../datasets.md"],
    "data check": ["../datasets.md"],
    "plugins list": ["../plugins.md"],
    "plugins show": ["../plugins.md", "../configuration.md"],
    "plugins new": ["../tutorial.md", "../plugins.md"],
    "plugins check": ["../plugins.md"],
}
"""Command -> pages with more about it."""


@dataclass(frozen=True)
class Command:
    """A command of ``fusionkit``.

    Attributes:
        name: As it is typed, ``plugins list`` for one of a group.
        help: Its help text.
        arguments: Its arguments, in order.
        options: Its options.
    """

    name: str
    help: str
    arguments: list[Parameter]
    options: list[Parameter]


@dataclass(frozen=True)
class Parameter:
    """An argument or an option of a command.

    Attributes:
        written: As it is typed, with its value.
        help: What it means.
        default: Value if it is not given, or None.
        required: Whether it must be given.
    """

    written: str
    help: str
    default: Any
    required: bool


def commands(group: typer.Typer = app, prefix: str = "") -> dict[str, Command]:
    """Return name -> command, of a group and of the groups in it."""
    found = {}
    for info in group.registered_commands:
        assert info.callback is not None
        name = prefix + (info.name or info.callback.__name__.replace("_", "-"))
        text = info.help or inspect.getdoc(info.callback) or ""
        if info.epilog:
            text += f"\n\n{info.epilog}"
        if not info.hidden:
            found[name] = Command(name, text, *parameters(info.callback))
    for info in group.registered_groups:
        assert info.typer_instance is not None
        found |= commands(info.typer_instance, f"{prefix}{info.name} ")
    return found


def parameters(callback: Callable[..., Any]) -> tuple[list[Parameter], list[Parameter]]:
    """Return the arguments and the options that a function declares."""
    arguments, options = [], []
    hints = get_type_hints(callback, include_extras=True)
    for name, parameter in inspect.signature(callback).parameters.items():
        kind, info = hints[name].__args__[0], hints[name].__metadata__[0]
        if getattr(info, "hidden", False):
            continue
        required = parameter.default is inspect.Parameter.empty
        default = None if required else parameter.default
        help_text = " ".join((info.help or "").split())
        if isinstance(info, ArgumentInfo):
            written = info.metavar or name.upper()
            if any(get_origin(each) is list for each in (kind, *get_args(kind))):
                written = f"{written}..."
            arguments.append(Parameter(written, help_text, default, required))
        else:
            # Typer takes the first name for a default until it builds the command.
            names = [str(text) for text in (info.default, *(info.param_decls or ()))]
            names = [text for text in names if text.startswith("-")]
            written = ", ".join(names or [f"--{name.replace('_', '-')}"])
            if kind is not bool:
                written += f" {info.metavar or value_of(kind)}"
            options.append(Parameter(written, help_text, default, required))
    return arguments, options


def value_of(kind: Any) -> str:
    """Return what stands for a value of a type in a usage line."""
    inner = [k for k in get_args(kind) if k is not NoneType]
    if get_origin(kind) is not None or inner:
        return value_of(inner[0])
    if issubclass(kind, Enum):
        return "{" + ",".join(member.value for member in kind) + "}"
    return {Path: "PATH", int: "N", float: "X"}.get(kind, "TEXT")


def page(command: Command) -> str:
    """Return the page of a command in Markdown."""
    usage = [f"fusionkit {command.name}"]
    for option in command.options:
        if option.required:
            names, _, value = option.written.rpartition(" ")
            usage.append(f"{names.split(', ')[0]} {value}")
    usage += ["[OPTIONS]"] if any(not p.required for p in command.options) else []
    for argument in command.arguments:
        plain = argument.required or argument.written.startswith("[")
        usage.append(argument.written if plain else f"[{argument.written}]")
    parts = [
        f"# fusionkit {command.name}",
        f"```text\n{' '.join(usage)}\n```",
        prose(command.help),
    ]
    for title, rows in (("Arguments", command.arguments), ("Options", command.options)):
        if rows:
            lines = "\n".join(row(parameter) for parameter in rows)
            parts.append(f"## {title}\n\n| | meaning | default |\n|---|---|---|\n{lines}")
    links = ", ".join(f"[{heading(path)}]({path})" for path in SEE_ALSO.get(command.name, []))
    if links:
        parts.append(f"See also: {links}.")
    return "\n\n".join(parts) + "\n"


def prose(text: str) -> str:
    """Return help text, which is Markdown, without its indentation."""
    return inspect.cleandoc(text)


def row(parameter: Parameter) -> str:
    """Return the row of an argument or an option."""
    if parameter.required:
        shown = "required"
    elif parameter.default is None or parameter.default is False or parameter.default == "":
        shown = ""
    else:
        shown = f"`{getattr(parameter.default, 'value', parameter.default)}`"
    written, meaning = (text.replace("|", "\\|") for text in (parameter.written, parameter.help))
    return f"| `{written}` | {meaning} | {shown} |"


def heading(path: str) -> str:
    """Return the title of a page."""
    text = (FOLDER / path).resolve().read_text(encoding="utf-8")
    return text.splitlines()[0].removeprefix("# ")


def index(found: dict[str, Command]) -> str:
    """Return the page that lists the commands."""
    callback = app.registered_callback
    text = inspect.getdoc(callback.callback) if callback and callback.callback else None
    lines = ["# Commands", "", text or "Every command prints its help with `--help`.", ""]
    lines += ["| command | what it does |", "|---|---|"]
    for name, command in found.items():
        first = " ".join(command.help.split("\n\n")[0].split()).replace("|", "\\|")
        lines.append(f"| [`fusionkit {name}`]({file_name(name)}) | {first} |")
    return "\n".join(lines) + "\n"


def file_name(name: str) -> str:
    """Return the file name of the page of a command."""
    return name.replace(" ", "-") + ".md"


def pages() -> dict[str, str]:
    """Return file name -> page, for every command and the list of them."""
    found = commands()
    made = {file_name(name): page(command) for name, command in found.items()}
    return {"index.md": index(found)} | made


def main() -> None:
    made = pages()
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob("*.md"):
        if old.name not in made:
            old.unlink()
    for name, text in made.items():
        (FOLDER / name).write_text(text, encoding="utf-8")
        print(FOLDER / name)


if __name__ == "__main__":
    main()
