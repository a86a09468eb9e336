"""All that this repository ships keeps the promises of its kind."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from PIL import Image

from fusionkit.registry.plugins import load_installed_plugins
from fusionkit.testing import NotApplicable, Subject
from fusionkit.testing.cases import CHECKS

OURS = ("fusionkit-standard", "fusionkit-emma", "fusionkit-classic", "fusionkit-scenes",
        "fusionkit-tasks", "fusionkit-timm", "fusionkit-methods")  # fmt: skip
ENTRIES = [e for e in load_installed_plugins().registry if e.plugin in OURS]
# What these would look at takes most of a minute, and a test of the task itself looks at it.
ELSEWHERE = {("detection", "task_seed"), ("detection", "task_scores")}
CASES = [
    (e.cls, check)
    for e in ENTRIES
    for check in CHECKS[e.cls.kind]
    if (e.cls.name, check.__name__) not in ELSEWHERE
]
NEVER = {"backbone folder", "dataset fmb", "dataset llvip", "dataset m3fd", "dataset msrs",
         "dataset msrs-detection"}  # fmt: skip
"""What needs files of others, whose own tests write them; here only its description is checked."""


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    for seed, name in enumerate(("infrared", "visible")):
        (folder / name).mkdir()
        for index in range(4):
            pixels = np.random.default_rng(10 * seed + index).integers(0, 256, (64, 80), np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def used():
    """The checks that found something to check."""
    return set()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("cls", "check"), CASES, ids=[f"{c.kind}-{c.name}-{check.__name__}" for c, check in CASES]
)
def test_contract(cls, check, root, used):
    given = {"dataset paired-folders": {"root": str(root)}}
    arguments = given.get(f"{cls.kind} {cls.name}", cls.example)
    subject = Subject(load_installed_plugins().registry, cls, arguments)
    # A check passes where there is nothing to check: a fuser without weights has no gradients.
    with contextlib.suppress(NotApplicable):
        check(subject)
        used.add(check.__name__)


def test_every_check_finds_something_to_check(used, request):
    own = request.node.nodeid.replace(request.node.name, "test_contract[")
    ran = sum(item.nodeid.startswith(own) for item in request.session.items)
    if ran == len(CASES):  # not just some of them, chosen by -k
        assert {check.__name__ for _, check in CASES} - used <= {"device"}  # takes a GPU


def test_every_component_is_built(root):
    # The checks of a component that is not built pass without looking at it.
    for entry in ENTRIES:
        cls = entry.cls
        if f"{cls.kind} {cls.name}" in NEVER:
            continue
        given = {"root": str(root)} if cls.name == "paired-folders" else cls.example
        try:
            Subject(load_installed_plugins().registry, cls, given).build()
        except NotApplicable as reason:
            pytest.fail(f"{cls.kind} {cls.name}: {reason}")
