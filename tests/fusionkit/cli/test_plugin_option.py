"""``--plugin mine.py``: a component of one's own without a package."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

MINE = '''
from __future__ import annotations

import os

from fusionkit.interfaces import Backbone, Stage


class Darker(Backbone):
    """The darker of the sources, scaled.

    Args:
        scale: Factor of the fused image.
    """

    name = "darker"

    def __init__(self, scale: float = 1.0):
        super().__init__()
        self.scale = scale

    def forward(self, sources):
        first, *others = sources.values()
        for other in others:
            first = first.minimum(other)
        return self.scale * first


class Ranks(Stage):
    """Write a file for each process."""

    name = "ranks"

    def run(self, run):
        (run.folder / f"rank{run.fabric.global_rank}").write_text(str(os.getpid()))
'''


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("FUSIONKIT_PLUGIN_FILES", "")
    # A name for this test alone, as modules stay imported.
    path = tmp_path / f"mine_{tmp_path.name}.py"
    path.write_text(MINE)
    yield path.name
    sys.modules.pop(path.stem, None)


def test_a_backbone_of_a_file_fuses_and_is_audited(mine, fusionkit, pairs, sources):
    code, _, said = fusionkit(
        "fuse", "--plugin", mine, "--backbone", "darker", *sources, "-o", "out"
    )
    assert code == 0, said
    assert len(list((pairs / "out").glob("*.png"))) == 2
    code, out, said = fusionkit(
        "audit", "--plugin", f"./{mine}", "--backbone", "darker", "--transform", "reflect",
        *sources, "-o", "audit",
    )  # fmt: skip
    assert code == 0, said
    assert "darker" in out


def test_a_file_is_listed_shown_and_checked(mine, fusionkit):
    code, out, _ = fusionkit("plugins", "list", "--plugin", mine)
    assert code == 0
    assert f"darker  ({mine})" in out
    code, out, _ = fusionkit("plugins", "show", "backbone", "darker", "--plugin", mine)
    assert code == 0
    assert "scale" in out
    code, out, said = fusionkit("plugins", "check", mine)
    assert code == 0, out + said
    assert "backbone darker" in out


def test_what_is_wrong_with_a_file_is_said(mine, fusionkit, tmp_path):
    code, _, said = fusionkit("plugins", "list", "--plugin", "other.py")
    assert code == 2
    assert "other.py" in said
    (tmp_path / mine).write_text("import nothing_of_that_name")
    code, _, said = fusionkit("plugins", "show", "backbone", "darker", "--plugin", mine)
    assert code == 2
    assert mine in said
    assert "nothing_of_that_name" in said


@pytest.mark.filterwarnings("ignore")
def test_every_process_of_a_run_sees_the_file(mine, tmp_path):
    (tmp_path / "ranks.yaml").write_text(
        "name: ranks\nmodalities: [infrared, visible]\n"
        "data: {name: scenes, size: 32, train: 1, val: 1}\n"
        "backbone: {name: darker, scale: 0.5}\nstages: [{name: ranks}]\n"
    )
    command = [sys.executable, "-m", "fusionkit", "run", "ranks.yaml", "--plugin", mine]
    done = subprocess.run(
        [*command, "devices=2", "accelerator=cpu"],
        cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if k != "FUSIONKIT_PLUGIN_FILES"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    written = [(tmp_path / "runs" / "ranks" / f"rank{k}").read_text() for k in range(2)]
    assert len(set(written)) == 2
