"""The pages name what there is: hooks, kinds, commands, plugins; their code is what runs."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from fusionkit import hookspecs
from fusionkit.cli import app, data_app, models_app, plugins_app
from fusionkit.interfaces import KINDS
from fusionkit.testing.cases import CHECKS

ROOT = Path(__file__).parents[2]
PLUGINS = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")


def load(name: str) -> Any:
    """Return a script of the documentation as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up by its name.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


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
    # The page that describes a command is generated; some other page must use it.
    pages = "".join(
        path.read_text(encoding="utf-8")
        for path in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]
        if path.parent.name != "commands"
    )
    groups = {"": app, "models ": models_app, "data ": data_app, "plugins ": plugins_app}
    for prefix, commands in groups.items():
        for command in commands.registered_commands:
            name = command.name or command.callback.__name__  # type: ignore[union-attr]
            assert f"fusionkit {prefix}{name}" in pages, name


def test_the_pages_of_commands_are_those_of_the_help_texts():
    make = load("make_command_pages").pages()
    committed = {
        path.name: path.read_text(encoding="utf-8") for path in ROOT.glob("docs/commands/*.md")
    }
    assert make == committed, "run python docs/make_command_pages.py"


def test_a_default_of_zero_is_shown():
    module = load("make_command_pages")
    shown = {
        default: module.row(module.Parameter("--seed N", "Random seed.", default, required=False))
        for default in (0, None, "")
    }
    assert shown[0].endswith("| `0` |")
    assert shown[None] == shown[""]


def test_every_page_is_in_the_navigation_and_links_lead_somewhere():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for path in sorted(ROOT.glob("docs/**/*.md")):
        assert re.search(
            rf"\b{re.escape(str(path.relative_to(ROOT / 'docs')))}$", navigation, re.M
        ), path
    for path in [ROOT / "README.md", *ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        for link in re.findall(r"\]\(([^)\s#]+)", path.read_text(encoding="utf-8")):
            if "://" not in link:
                assert (path.parent / link).exists(), f"{path}: {link}"


def test_the_readme_is_what_the_package_does():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    # The two commands that set up a fresh machine: one runs the main job, one passes the tests.
    assert "pip install . && fusionkit run emma.yaml" in readme
    assert 'pip install -e ".[test]" && pytest' in readme
    recipe = yaml.safe_load(re.search(r"```yaml\n(.+?)```", readme, re.DOTALL)[1])  # type: ignore[index]
    shipped = yaml.safe_load((ROOT / "plugins/fusionkit_emma/recipes/emma.yaml").read_text())
    assert recipe == {key: shipped[key] for key in recipe}


def test_the_plugin_of_the_readme_trains_and_passes_the_checks(tmp_path, monkeypatch):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (source,) = re.findall(r"```python\n# mine\.py\n(.+?)```", readme, re.DOTALL)
    # Who followed the README has a mine.py here, which would be in the way.
    (tmp_path / "gate_of_the_readme.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    changes = "backbone.width=8 data.train=4 data.val=1 data.size=48 stages.train-sensors.epochs=1"
    for command in (
        f"run emma.yaml backbone.name=gate {changes} --plugin gate_of_the_readme.py --out run",
        "plugins check ./gate_of_the_readme.py",
    ):
        result = CliRunner().invoke(app, command.split(), catch_exceptions=False)
        assert result.exit_code == 0, result.output
    assert (tmp_path / "run" / "report.html").is_file()


def test_every_plugin_is_in_the_readme():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for module in declared["fusionkit"].values():
        assert f"`{module}`" in readme, module


@pytest.fixture(scope="module")
def tutorial():
    return load("run_tutorial")


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
