"""`fusionkit data`: terms before the download, folders found by name, and quick lists."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]


@pytest.fixture
def published(file_server, pairs, tmp_path, monkeypatch):
    """Publish the two pairs as the data set `small`; return the folder of the data sets."""
    lines = []
    for path in sorted(pairs.glob("??/*.png")):
        name = path.relative_to(pairs).as_posix()
        file_server.files[f"/{name}"] = path.read_bytes()
        lines.append(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {name}\n")
    file_server.files["/"] = b"a page"
    (tmp_path / "small.sha256").write_text("".join(lines))
    card = {
        "name": "small", "title": "Small", "summary": "Two pairs.", "paper": "None",
        "home": f"{file_server.url}/", "terms": "Keep off the grass.", "folder": "small",
        "parts": [{"data": {"name": "paired-folders"}, "scenes": 2}],
        "download": {
            "base": f"{file_server.url}/", "folders": {"ir": "ir", "vi": "vi"},
            "checksums": "small.sha256", "bytes": 30_000,
        },
    }  # fmt: skip
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(card))
    plugin = tmp_path / "small_data.py"
    plugin.write_text(
        "from pathlib import Path\nfrom fusionkit import hookimpl\n"
        "@hookimpl\ndef fusionkit_data():\n"
        "    return [Path(__file__).with_name('small.yaml')]\n"
    )
    monkeypatch.setattr(sys, "path", list(sys.path))  # which a plugin file extends
    monkeypatch.setenv("FUSIONKIT_PLUGIN_FILES", str(plugin))
    monkeypatch.setenv("FUSIONKIT_DATA", str(tmp_path / "sets"))
    yield tmp_path / "sets"
    sys.modules.pop("small_data", None)


def test_terms_are_shown_and_must_be_accepted(fusionkit, published, file_server, monkeypatch):
    code, out, said = fusionkit("data", "get", "small")
    assert code == 2
    assert "Keep off the grass." in out
    assert "--yes" in said
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.confirm", lambda question, err: False)
    assert fusionkit("data", "get", "small")[0] == 0
    assert file_server.asked == []
    assert not published.exists()
    monkeypatch.setattr("typer.confirm", lambda question, err: True)
    assert fusionkit("data", "get", "small")[0] == 0
    assert (published / "small" / "vi" / "b.png").is_file()


def test_get_check_and_list(fusionkit, published):
    code, out, _ = fusionkit("data", "get", "small", "--yes")
    assert code == 0
    assert "Keep off the grass." in out
    code, out, _ = fusionkit("data", "check", "small")
    assert (code, out.count(str(published / "small"))) == (0, 2)
    (published / "small" / "ir" / "a.png").unlink()
    code, _, said = fusionkit("data", "check", "small", published / "small")
    assert code == 2
    assert "ir/a.png" in said
    code, out, _ = fusionkit("data", "list")
    assert code == 0
    assert "Two pairs" in out


def test_what_a_person_must_fetch_is_said(fusionkit, published):
    code, _, said = fusionkit("data", "get", "llvip", "--yes")
    assert code == 2
    assert "https://bupt-ai-cz.github.io/LLVIP/" in said
    assert str(published / "LLVIP") in said
    code, _, said = fusionkit("data", "check", "llvpi")
    assert code == 2
    assert "did you mean 'llvip'" in said


def test_a_run_finds_a_data_set_by_name(fusionkit, published, tiny_recipe, pairs, monkeypatch):
    monkeypatch.chdir(pairs)
    for folder in ("ir", "vi"):
        (published / "tno" / folder).mkdir(parents=True)
        for name in ("a", "b"):
            (pairs / folder / f"{name}.png").rename(published / "tno" / folder / f"{name}.png")
    stages = "stages=[{name: fuse}, {name: evaluate, metrics: [EN]}]"
    untrained = ["backbone=average", "sensors={}", "teacher=[]", "losses=[]", "transforms=[]"]
    data = "data={name: tno, patch: 32, val: 0.5}"
    code, _, said = fusionkit("run", tiny_recipe, stages, data, *untrained)
    assert code == 0, said
    other = ["data={name: roadscene}", "name=other"]
    code, _, said = fusionkit("run", tiny_recipe, stages, *other, *untrained)
    assert code == 2
    assert "fusionkit data get roadscene" in said


def test_a_list_from_the_cache_imports_neither_torch_nor_pooch(published, tmp_path):
    code = (
        "import sys\nfrom fusionkit import cli\nfrom fusionkit.registry import plugin_cache\n"
        f"listing = plugin_cache.Listing((), {{}}, (), {{}}, {{'a': '{tmp_path}/small.yaml'}})\n"
        "plugin_cache.installed_listing = lambda: listing\n"
        "sys.argv = ['fusionkit', 'data', 'list']\n"
        "try: cli.main()\nfinally: print({'torch', 'pooch', 'requests'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "Two pairs" in result.stdout
    assert result.stdout.splitlines()[-1] == "set()"


def test_dead_links_are_found(published, file_server, tmp_path):
    command = [sys.executable, ROOT / "docs" / "check_data_links.py", tmp_path / "small.yaml"]
    assert subprocess.run(command, capture_output=True).returncode == 0
    assert {path for path, _ in file_server.asked} == {"/", "/ir/a.png", "/vi/a.png"}
    del file_server.files["/vi/a.png"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1
    (dead,) = [line for line in result.stdout.splitlines() if not line.endswith(": there")]
    assert f"{file_server.url}/vi/a.png" in dead
