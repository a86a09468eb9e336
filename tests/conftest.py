"""What all tests share: the real image pairs, one thread, and an account of skipped tests."""

from __future__ import annotations

import fnmatch
import logging
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from jaxtyping import install_import_hook

# Shapes in signatures are checked here and nowhere else: users don't pay for it.
install_import_hook(
    ["fusionkit.functional", "fusionkit_classic", "fusionkit_emma.distances"], "beartype.beartype"
)

torch.set_num_threads(1)  # the parity fixtures were made so, and two busy cores spin otherwise

SHARED = Path(__file__).resolve().parents[1].parent / "shared"

NO_IMAGES = "needs real images"

collect_ignore = ["fuzz/fuzz.py"]  # needs atheris, which nobody else does

ALLOWED_SKIPS: dict[str, str] = {
    "tests/fusionkit/reporting/test_browser.py::*": "few machines have a browser without a screen",
    "*test_engine.py::test_a_gpu_gives_the_images_of_the_cpu": "needs a CUDA device",
    "*test_gpu_training.py::*": "needs a CUDA device",
    "*test_gpu_commands.py::*": "needs a CUDA device",
}
"""Tests that may be skipped: pattern of the node id -> why. Tests of real images always may."""


LONG = (
    "test_processes.py",
    "test_kills.py",
    "test_detection.py",
    "test_ray_engine.py",
    "test_exported_models.py",
    "test_pipeline.py",
    "test_families.py",
    "test_divergence.py",
    "test_plugin_cache.py",
    "test_tiles.py",
    "test_determinism.py",
    "test_bench.py",
    "test_parity.py",
    "test_crossed.py",
)
"""Files of tests that take longest, the longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked `gpu` if there is none. Begin with the long files.

    The last file to end must not leave a worker without work.
    """
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu") is not None:
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
    places = {name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path.name, len(LONG)))


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real pairs; FUSIONKIT_DATA names another one."""
    root = Path(os.environ.get("FUSIONKIT_DATA", SHARED / "data"))
    if not (root / "tno").is_dir():
        pytest.skip(f"{NO_IMAGES}: {root / 'tno'} does not exist; set FUSIONKIT_DATA")
    return root


@pytest.fixture(autouse=True)
def _forget_plugin_files() -> Iterator[None]:
    """Keep plugin files that a test loads from the tests after it."""
    before = os.environ.get("FUSIONKIT_PLUGIN_FILES")
    yield
    if before is None:
        os.environ.pop("FUSIONKIT_PLUGIN_FILES", None)
    else:
        os.environ["FUSIONKIT_PLUGIN_FILES"] = before


@pytest.fixture(autouse=True)
def _forget_log_handlers() -> Iterator[None]:
    """Keep the handler of a command from the tests after it, whose messages it would take."""
    yield
    logger = logging.getLogger("fusionkit")
    logger.handlers.clear()
    logger.setLevel(logging.NOTSET)
    logger.propagate = True


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--strict-skips",
        action="store_true",
        help="fail if a test is skipped that neither needs real images nor is in ALLOWED_SKIPS",
    )


def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.config.option.strict_skips and any(
        not allowed for _, _, allowed in other_skips(session.config)
    ):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    others = other_skips(config)
    without_images = len(terminalreporter.stats.get("skipped", ())) - len(others)
    if without_images:
        terminalreporter.line(f"{without_images} tests need real images (FUSIONKIT_DATA): skipped")
    allowed_of = Counter((test.partition("::")[0], *rest) for test, *rest in others if rest[1])
    for (file, reason, allowed), count in allowed_of.items():
        tests = "1 test" if count == 1 else f"{count} tests"
        terminalreporter.line(f"skipped {tests} of {file}: {reason} (allowed: {allowed})")
    for test, reason, allowed in others:
        if not allowed:
            terminalreporter.line(
                f"skipped {test}: {reason} (not in ALLOWED_SKIPS of tests/conftest.py)"
            )


def other_skips(config: pytest.Config) -> list[tuple[str, str, str | None]]:
    """Return node id, reason and permission of each skip that real images would not cure."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    skips = []
    for report in reporter.stats.get("skipped", ()) if reporter else ():
        reason = str(report.longrepr[2]).removeprefix("Skipped: ")
        if not reason.startswith(NO_IMAGES):
            matching = (p for p in ALLOWED_SKIPS if fnmatch.fnmatchcase(report.nodeid, p))
            skips.append((report.nodeid, reason, ALLOWED_SKIPS.get(next(matching, ""))))
    return skips
