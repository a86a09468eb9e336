"""The kit as a pytest plugin: a test per check, failures as sentences, nothing unless asked."""

from __future__ import annotations

pytest_plugins = ["pytester"]

MARKED = """
import pytest

@pytest.mark.fusionkit_plugin("{plugin}")
def test_contract(conformance):
    conformance()
"""


def test_a_marked_test_runs_once_per_check(pytester):
    pytester.makepyfile(MARKED.format(plugin="fusionkit-scenes"))
    result = pytester.runpytest_inprocess("-v", "-W", "ignore")
    result.stdout.fnmatch_lines(["*test_contract?dataset-scenes-docstring? PASSED*"])
    counts = result.parseoutcomes()
    assert counts["passed"] >= 8
    assert "failed" not in counts


def test_a_broken_promise_is_a_sentence(pytester, monkeypatch):
    from fusionkit.interfaces import Dataset
    from fusionkit_scenes.dataset import Scenes

    monkeypatch.setattr(Scenes, "splits", lambda self: {"train": [0]})
    assert issubclass(Scenes, Dataset)
    pytester.makepyfile(MARKED.format(plugin="fusionkit-scenes"))
    result = pytester.runpytest_inprocess("-W", "ignore")
    result.stdout.fnmatch_lines(["splits() has no 'val' (it has: train)"])
    result.stdout.no_fnmatch_line("*def expect*")
    assert result.parseoutcomes()["failed"] == 1


def test_mistakes_in_the_marker_are_named(pytester):
    pytester.makepyfile("def test_contract(conformance):\n    conformance()\n")
    result = pytester.runpytest_inprocess()
    result.stdout.fnmatch_lines(["*asks for `conformance` without saying whose*"])
    pytester.makepyfile(MARKED.format(plugin="fusionkit-scene"))
    result = pytester.runpytest_inprocess()
    result.stdout.fnmatch_lines(["*no plugin or package 'fusionkit-scene' is installed*"])
