"""The pages name what there is: hooks, kinds, commands, plugins; their code is what runs."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from fusionkit import hookspecs
from fusionkit.cli import app, plugins_app
from fusionkit.interfaces import KINDS
from fusionkit.testing.cases import CHECKS

ROOT = Path(__file__).parents[2]
PLUGINS = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the table under a heading."""
    section = PLUGINS.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section.splitlines()
        if line.startswith("|") and not line.startswith("|---")
    ][1:]


def test_every_hook_is_documented_with_its_arguments():
    hooks = {
        f"`{name}({', '.join(inspect.signature(hook).parameters)})`"
        for name, hook in inspect.getmembers(hookspecs, inspect.isfunction)
        if name.startswith("fusionkit_")
    }
    assert {row[0] for row in rows("Hooks")} == hooks
    for _, hook in inspect.getmembers(hookspecs, inspect.isfunction):
        assert inspect.getdoc(hook)


def test_every_kind_is_documented_with_its_class():
    assert {(row[0], row[1]) for row in rows("Kinds")} == {
        (f"`{kind}`", f"`{cls.__name__}`") for kind, cls in KINDS.items()
    }
    for cls in KINDS.values():
        assert inspect.getdoc(cls)
        for name, member in inspect.getmembers(cls, inspect.isfunction):
            if name in cls.__dict__ and not name.startswith("_"):
                assert inspect.getdoc(member), f"{cls.__name__}.{name}"


def test_the_checks_of_every_kind_are_documented():
    named = {kind for row in rows("Conformance") for kind in row[0].split(", ")}
    assert named == {"all", *KINDS}
    for checks in CHECKS.values():
        assert all(inspect.getdoc(check) for check in checks)


def test_the_version_of_the_api_is_the_one_written_down():
    assert f"`FUSIONKIT_API = {hookspecs.API_VERSION}`" in PLUGINS


def test_every_command_is_in_a_page():
    pages = "".join(
        path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *ROOT.glob("docs/*.md")]
    )
    for prefix, commands in (("", app), ("plugins ", plugins_app)):
        for command in commands.registered_commands:
            name = command.name or command.callback.__name__  # type: ignore[union-attr]
            assert f"fusionkit {prefix}{name}" in pages, name


def test_every_plugin_is_in_the_readme():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for module in declared["fusionkit"].values():
        assert f"`{module}`" in readme, module


@pytest.fixture(scope="module")
def tutorial():
    spec = importlib.util.spec_from_file_location("run_tutorial", ROOT / "docs/run_tutorial.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_block_of_the_tutorial_is_a_file_or_a_command(tutorial, tmp_path):
    page = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    found = tutorial.blocks(page)
    assert len(found) == page.count("```") / 2
    for kind, title, text in found:
        if kind == "python":
            ast.parse(text)
        if kind == "yaml":
            yaml.safe_load(text)
        assert (title is None) == (kind == "bash"), text
    commands = "".join(text for kind, _, text in found if kind == "bash")
    for command in ("plugins new", "plugins check", "run", "bench", "audit", "fuse"):
        assert re.search(rf"^fusionkit {command}", commands, re.MULTILINE), command


def test_the_tutorial_stops_at_the_first_failure(tutorial, tmp_path):
    page = '```yaml title="a/b.txt"\nx\n```\n\n```bash\ncat a/b.txt\nfalse\ntouch after\n```\n'
    with pytest.raises(Exception, match="returned non-zero exit status 1"):
        tutorial.run(page, tmp_path)
    assert (tmp_path / "a" / "b.txt").read_text() == "x\n"
    assert not (tmp_path / "after").exists()
    with pytest.raises(SystemExit, match="a block of python without a title"):
        tutorial.run("```python\nprint()\n```\n", tmp_path)
