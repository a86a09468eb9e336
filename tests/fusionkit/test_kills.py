"""Commands that are killed at any moment, again and again, end like one that never was."""

from __future__ import annotations

import json
import multiprocessing
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from fusionkit.io.atomic_write import TEMPORARY
from fusionkit.io.hashes import file_hash
from fusionkit.io.images import write_image

sys.path.insert(0, str(Path(__file__).parent))  # tests are no package
import killed_command
from killed_command import Moment

STAGES = ("train-sensors", "train-backbone", "fuse", "evaluate", "report")


@dataclass
class Command:
    """A command that writes to a folder.

    Attributes:
        arguments: Its arguments; a folder follows.
        least: Suffix -> least number of result files with it.
        moments: When it is killed, one kill after the other.
        whole: Results of a command that was never killed.
        writes: Number of its writes.
    """

    arguments: list[str]
    least: Mapping[str, int]
    moments: tuple[Moment, ...]
    whole: dict[str, str] = field(default_factory=dict)
    writes: int = 0

    @property
    def processes(self) -> int:
        return 2 if "devices=2" in self.arguments else 1


@pytest.fixture(scope="module")
def start() -> Callable[..., tuple[int, int]]:
    """Return a function that runs a command in a process with everything imported."""
    context = multiprocessing.get_context("forkserver")
    modules = ["killed_command", "fusionkit.runs.pipeline", "fusionkit.benchmark.bench"]
    context.set_forkserver_preload([*modules, "fusionkit_emma"])

    def start(command: Command, folder: Path, moment: Moment | None = None) -> tuple[int, int]:
        """Return exit code and number of writes."""
        writes = context.Value("i", 0)
        arguments = [*command.arguments, "--out", str(folder)]
        process = context.Process(
            target=killed_command.run, args=(arguments, folder, moment, writes)
        )
        process.start()
        process.join()
        assert process.exitcode is not None
        return process.exitcode, writes.value

    return start


@pytest.fixture(scope="module")
def commands(tiny_recipe, tmp_path_factory) -> dict[str, Command]:
    root, generator = tmp_path_factory.mktemp("sources"), np.random.default_rng(0)
    for modality in ("infrared", "visible"):
        (root / modality).mkdir()
        for k in range(8):
            pixels = generator.integers(0, 256, (64, 80), np.uint8)
            write_image(root / modality / f"{k}.png", pixels)
    suite = root / "suite.yaml"
    suite.write_text(
        f"""\
name: small
data: {{scenes: {{name: scenes, size: 48, train: 2, val: 3}}}}
methods:
  average: {{backbone: {{name: average}}}}
  trained: {{recipe: {tiny_recipe}}}
tasks: {{fusion: {{name: fusion-metrics, metrics: [EN, MSE]}}}}
"""
    )
    sources = [f"--source={m}={root / m}" for m in ("infrared", "visible")]
    run = ["run", str(tiny_recipe), "accelerator=cpu"]
    return {
        "run": Command(
            run,
            {".safetensors": 3, ".png": 4, ".csv": 4, ".json": 1},
            (
                Moment("checkpoints/0-*.progress.pt"),
                Moment("checkpoints/0-*.progress.pt", time=2),
                Moment("samples/*.png"),
                Moment("checkpoints/1-*.safetensors"),
                Moment("state.json"),
                Moment("grey/*/*.png"),
                Moment("scores/*.csv"),
                Moment("report.html"),
            ),
        ),
        "devices=2": Command(
            [*run, "devices=2"],
            {".safetensors": 3, ".png": 4, ".csv": 4, ".json": 1},
            (
                Moment("checkpoints/0-*.progress.pt", time=2),
                Moment("checkpoints/1-*.safetensors"),
            ),
        ),
        "bench": Command(
            ["bench", str(suite)],
            {".png": 6, ".safetensors": 3, ".csv": 1},
            (
                Moment("fused/*/*.png"),
                Moment("runs/*/checkpoints/*.safetensors"),
                Moment("cells/*.json"),
                Moment("results.csv"),
                Moment("results.json"),
            ),
        ),
        "fuse": Command(
            ["fuse", "--backbone", "laplacian-pyramid", *sources],
            {".png": 8},
            (Moment(".fusionkit/owner.json"), Moment("*.png"), Moment("*.png", time=3)),
        ),
    }


@pytest.fixture
def command(request, commands, start, tmp_path) -> Command:
    """A command that has run to its end."""
    command: Command = commands[request.param]
    if not command.whole:
        code, command.writes = start(command, tmp_path / "whole")
        assert code == 0
        command.whole = results(tmp_path / "whole")
        suffixes = Counter(Path(name).suffix for name in command.whole)
        assert all(suffixes[suffix] >= n for suffix, n in command.least.items()), suffixes
    return command


def results(folder: Path) -> dict[str, str]:
    """Return the digest of each file that holds results; logs and reports hold times."""
    return {
        path.relative_to(folder).as_posix(): file_hash(path)
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".png", ".safetensors", ".csv") or path.name == "metrics.json"
    }


def check(command: Command, folder: Path) -> None:
    """Assert that a folder holds all results, and nothing that is half written."""
    found = results(folder)
    names = found.keys() | command.whole.keys()
    assert [n for n in sorted(names) if found.get(n) != command.whole.get(n)] == []
    assert [str(path) for path in folder.rglob(f"{TEMPORARY}*")] == []
    assert [str(path) for path in folder.rglob("*.progress.pt")] == []
    assert not (folder / "work").exists()


@pytest.mark.parametrize("command", ["run", "bench", "fuse", "devices=2"], indirect=True)
def test_killed_before_a_file_appears(command, start, tmp_path):
    folder = tmp_path / "killed"
    for moment in command.moments:
        code, _ = start(command, folder, moment)
        assert (moment, code) == (moment, -signal.SIGKILL)
    code, _ = start(command, folder)
    assert code == 0
    check(command, folder)


@pytest.mark.skipif(sys.platform != "linux", reason="only there other processes render scenes")
def test_killed_while_other_processes_render(start, tmp_path):
    recipe = tmp_path / "rendered.yaml"
    recipe.write_text(
        """\
name: rendered
data: {name: scenes, size: 32, train: 64, val: 1}
teacher: [{name: average}]
sensors:
  infrared: {name: unet, width: 2}
  visible: {name: unet, width: 2}
backbone: {name: ufuser, channels: [4, 8], heads: 4}
losses: []
stages: [{name: train-sensors, epochs: 1, batch_size: 4}]
"""
    )
    command = Command(["run", str(recipe), "accelerator=cpu"], {}, ())
    assert start(command, tmp_path / "whole")[0] == 0
    command.whole = results(tmp_path / "whole")
    assert len(command.whole) == 4
    folder = tmp_path / "killed"
    assert start(command, folder, Moment("log.jsonl", time=2))[0] == -signal.SIGKILL
    assert start(command, folder)[0] == 0
    check(command, folder)


@pytest.mark.soak
@pytest.mark.parametrize(
    ("command", "kills"),
    [("run", 50), ("bench", 50), ("fuse", 50), ("devices=2", 20)],
    indirect=["command"],
)
def test_killed_at_random_moments(command, kills, start, tmp_path, capsys):
    chance = random.Random(kills)
    hit: Counter[str] = Counter()
    number = 0
    begin = time.monotonic()
    code, _ = start(command, tmp_path / "timed")
    assert code == 0
    seconds = time.monotonic() - begin
    while hit.total() < kills:
        folder = tmp_path / str(number)
        number += 1
        code = None
        while code != 0:
            moment = None
            if hit.total() < kills:
                moment = Moment(
                    write=chance.randint(1, command.writes),
                    # up to a few writes later, so at any moment between two of them
                    delay=chance.uniform(0, 4 * seconds / command.writes),
                    second=command.processes == 2 and chance.random() < 0.5,
                )
            code, _ = start(command, folder, moment)
            # A process that loses the other one ends in a sentence.
            assert code in (0, -signal.SIGKILL, 2 if moment and moment.second else 0)
            if code:
                hit[f"{command.processes} {place(folder)}"] += 1
        check(command, folder)
    with capsys.disabled():
        print(f"\n{hit.total()} kills in {number} folders: {dict(hit)}")
        print(f"  {command.writes} writes, {seconds:.1f} s without kills")


def place(folder: Path) -> str:
    """Return where a killed command was: the stage of a run, else how many results it has."""
    if (folder / "config.yaml").is_file():
        state = folder / "state.json"
        finished = len(json.loads(state.read_text())) if state.is_file() else 0
        return STAGES[min(finished, len(STAGES) - 1)]
    return "begun" if folder.exists() else "before"
