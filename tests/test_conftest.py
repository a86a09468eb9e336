"""The account of skipped tests: real images in one line, the others one by one, strict or not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

TESTS = """
import pytest

def test_of_real_images(data_root):
    pass

@pytest.mark.skip(reason="no such processor")
def test_of_a_processor():
    pass

def test_of_nothing():
    pass
"""


@pytest.fixture
def run(pytester, monkeypatch):
    """Return a function that runs TESTS beside a conftest like ours."""
    conftest = Path(__file__).with_name("conftest.py").read_text()
    monkeypatch.setenv("FUSIONKIT_DATA", str(pytester.path / "nowhere"))

    def run(*options: str, allowed: str = "{}") -> pytest.RunResult:
        pattern = re.compile(r"^(ALLOWED_SKIPS: .*?) = \{.*?\}$", re.MULTILINE | re.DOTALL)
        ours, count = pattern.subn(lambda match: f"{match[1]} = {allowed}", conftest)
        assert count == 1
        pytester.makeconftest(ours)
        pytester.makepyfile(test_x=TESTS)
        return pytester.runpytest_inprocess("-W", "ignore", *options)

    return run


def test_skips_are_named(run):
    result = run()
    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(passed=1, skipped=2)
    result.stdout.fnmatch_lines(
        [
            "1 tests need real images (FUSIONKIT_DATA): skipped",
            "skipped test_x.py::test_of_a_processor: no such processor (not in ALLOWED_SKIPS*",
        ]
    )


def test_a_skip_that_is_not_listed_fails_a_strict_run(run):
    assert run("--strict-skips").ret == pytest.ExitCode.TESTS_FAILED


def test_a_listed_skip_passes_a_strict_run(run):
    result = run("--strict-skips", allowed='{"test_x.py::*processor": "few have it"}')
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["skipped *processor* (allowed: few have it)"])


def test_without_skips_a_strict_run_passes(run):
    result = run("--strict-skips", "-k", "nothing")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.no_fnmatch_line("*skipped*")
