"""The listing is remembered, needs no torch, and never shows what is no longer so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fusionkit.registry.plugin_cache import listing_of
from fusionkit.registry.plugins import load_plugins

PLUGIN = """
from fusionkit import hookimpl

@hookimpl
def fusionkit_components():
    from fusionkit.interfaces import Stage

    class Nothing(Stage):
        "Does nothing."
        name = "NAME"
        def run(self, run):
            pass

    return [Nothing]
"""

# What `python -c pass` has not imported, torch among it, must not be there after listing.
SCRIPT = """
import sys
from typer.testing import CliRunner
from fusionkit.cli import app
for command in (["plugins", "list"], ["models"]):
    print(CliRunner().invoke(app, command).stdout)
print("torch" in sys.modules, "stranger" in sys.modules)
"""


@pytest.fixture
def listed(tmp_path):
    """Return a function that lists in a new process, with a stranger's package installed."""
    site = tmp_path / "site"
    info = site / "stranger-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[fusionkit]\nstranger = stranger\n")

    def run(code: str | None = None) -> str:
        if code is not None:
            (site / "stranger.py").write_text(code)
        environment = {
            **os.environ,
            "PYTHONPATH": str(site),
            "XDG_CACHE_HOME": str(tmp_path / "cache"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_the_second_listing_imports_nothing_and_changes_are_seen(listed, tmp_path):
    first = listed(PLUGIN.replace("NAME", "nothing"))
    assert "stranger (stranger 1.0): 1 components" in first
    assert "nothing  (stranger)" in first
    assert "emma-ir-vis" in first.partition("SHA-256")[2]
    assert first.endswith("True True\n")
    again = listed()
    assert again.endswith("False False\n")
    assert again.removesuffix("False False\n") == first.removesuffix("True True\n")
    changed = listed(PLUGIN.replace("NAME", "something"))
    assert "something  (stranger)" in changed
    assert "nothing  (stranger)" not in changed
    broken = listed("raise ImportError('no such thing')")
    assert "stranger (stranger 1.0): BROKEN, skipped: ImportError: no such thing" in broken
    assert "ufuser  (fusionkit-emma)" in broken
    cache = next((tmp_path / "cache").rglob("plugins.json"))
    cache.write_text("no json")
    assert "BROKEN" in listed()


def test_a_listing_says_what_is_slow(make_plugin, monkeypatch):
    monkeypatch.setattr("fusionkit.registry.plugins.SLOW", 0.2)
    slow = make_plugin("sleepy", "import time\ntime.sleep(0.3)\n" + PLUGIN.replace("NAME", "zzz"))
    listing = listing_of(load_plugins([slow]))
    (line,) = listing.plugins
    assert line.complaint is not None
    assert line.complaint.startswith("slow: took 0.")
    assert line.complaint.endswith("should import heavy packages where they are used")
    assert line.components == 1
    assert listing.components == {"stage": [("zzz", "plugin-sleepy")]}


def test_the_cache_is_in_the_users_cache_folder(monkeypatch):
    from fusionkit.registry.plugin_cache import _cache_folder

    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert _cache_folder().parent == Path("/somewhere/fusionkit")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert _cache_folder().parent == Path.home() / ".cache" / "fusionkit"
