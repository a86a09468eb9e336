"""The public names of the package."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys

import fusionkit as fk


def test_every_public_name_is_listed_and_there():
    assert set(fk.__all__) <= set(dir(fk))
    for name in fk.__all__:
        assert getattr(fk, name) is not None
    assert fk.__version__ == importlib.metadata.version("fusionkit-mmif")


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(fk, "defuse")


def test_what_a_plugin_imports_costs_no_torch():
    code = "import sys, fusionkit; fusionkit.hookimpl; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
