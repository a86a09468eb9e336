"""Every component that this repository ships keeps the contract of its kind."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from fusionkit.registry.plugins import load_installed_plugins
from fusionkit.testing import Case, Subject
from fusionkit.testing.cases import CHECKS

OURS = ("fusionkit-standard", "fusionkit-emma", "fusionkit-classic", "fusionkit-scenes",
        "fusionkit-tasks", "fusionkit-timm", "fusionkit-methods")  # fmt: skip
ENTRIES = [e for e in load_installed_plugins().registry if e.plugin in OURS]
# These train YOLO for minutes; the tests of the task cover them.
ELSEWHERE = {
    ("detection", "task_seed"),
    ("detection", "task_scores"),
    ("detection", "task_answers"),
}
CASES = [
    (e.cls, check)
    for e in ENTRIES
    for check in CHECKS[e.cls.kind]
    if (e.cls.name, check.__name__) not in ELSEWHERE
]
REFUSING = {"backbone folder", "dataset fmb", "dataset harvard", "dataset llvip", "dataset m3fd",
            "dataset mfnet", "dataset msrs", "dataset msrs-detection", "dataset roadscene",
            "dataset tno", "loss decomposition"}  # fmt: skip
"""Components that need files of the user or a certain backbone; their own tests provide those."""
NOTHING_TO_CHECK = {
    "saving": "components without weights",
    "gradients": "backbones without weights",
    "device": "machines without a GPU",
    "any_size": "sensors",
    "three_sources": "sensors",
    "composition": "groups without exact elements",
    "inference_form": "networks without a faster form",
    "known_answers": "metrics that have no known answer",
}


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


@pytest.mark.parametrize(
    ("cls", "check"), CASES, ids=[f"{c.kind}-{c.name}-{check.__name__}" for c, check in CASES]
)
def test_contract(cls, check, root, used):
    arguments = {"root": str(root)} if cls.name == "paired-folders" else cls.example
    outcome = Case(Subject(load_installed_plugins().registry, cls, arguments), check).outcome()
    allowed = {"passed"}
    if check.__name__ in NOTHING_TO_CHECK:
        allowed.add("skipped")
    if f"{cls.kind} {cls.name}" in REFUSING:
        allowed.add("refused")
    assert outcome.state in allowed, outcome.sentence
    if outcome.state == "passed":
        used.add(check.__name__)


def test_every_check_finds_something_to_check(used, request):
    own = request.node.nodeid.replace(request.node.name, "test_contract[")
    ran = sum(item.nodeid.startswith(own) for item in request.session.items)
    if ran == len(CASES):  # not just some of them, chosen by -k
        assert {check.__name__ for _, check in CASES} - used <= {"device"}  # needs a GPU


def test_only_what_is_listed_refuses(root):
    # A component that can't be built takes part in no check.
    for entry in ENTRIES:
        if f"{entry.cls.kind} {entry.cls.name}" in REFUSING:
            assert entry.cls.refuses
            continue
        given = {"root": str(root)} if entry.cls.name == "paired-folders" else entry.cls.example
        Subject(load_installed_plugins().registry, entry.cls, given).build()
