"""The engine on a real Ray cluster of two nodes: same files, deaths, failures, interruptions."""

from __future__ import annotations

import logging
import os
import pickle
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import numpy as np
import pytest

import fusionkit as fk
from fusionkit import cli, progress
from fusionkit.benchmark import bench, fused_images
from fusionkit.errors import FusionkitError
from fusionkit.inference import ray_pool, ray_worker
from fusionkit.inference.folders import FolderOptions, fuse_files
from fusionkit.inference.ray_engine import RayEngine
from fusionkit.io.atomic_write import TEMPORARY
from fusionkit.io.images import write_image
from fusionkit.io.listing import list_pairs

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own

COUNT = 32


class Watch:
    """A progress that calls a function once some steps are done.

    It is slow until then, so that all workers get items.

    Args:
        after: Number of steps.
        call: The function.
        ready: Steps count only when this holds.
    """

    def __init__(
        self, after: int, call: Callable[[], Any], ready: Callable[[], bool] = lambda: True
    ):
        self._left, self._call, self._ready = after, call, ready

    def __call__(self, *arguments: Any) -> Self:
        return self  # in place of the class ProgressBar

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def expect(self, total: int) -> None:
        pass

    def step(self, values: Mapping[str, float] | None = None) -> None:
        if self._left > 0:
            time.sleep(0.3)
            self._left -= self._ready()
            if self._left == 0:
                self._call()


class Cluster:
    """A head and a second node on the loopback address, with one core each."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster as RayCluster

        self._settings = {
            "num_cpus": 1,
            "object_store_memory": 100 << 20,
            "include_dashboard": False,
        }
        # Ray replaces 127.0.0.1 by the address of the network card.
        head = {**self._settings, "node_ip_address": "127.0.0.2"}
        self.ray = RayCluster(initialize_head=True, head_node_args=head)
        self._second: Any = None

    def start_second(self) -> None:
        if self._second is None:
            self._second = self.ray.add_node(**self._settings, node_ip_address="127.0.0.3")

    def kill_second(self) -> None:
        # Without this, its workers finish what is under way before they notice.
        for process in self._second.all_processes["raylet"]:
            for child in descendants(process.process.pid):
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
        self.ray.remove_node(self._second, allow_graceful=False)
        self._second = None


def descendants(process: int) -> list[int]:
    """Return the processes that a process has started, and those that these have started."""
    found: list[int] = []
    for file in Path(f"/proc/{process}/task").glob("*/children"):
        with suppress(FileNotFoundError):  # the thread has ended
            for child in map(int, file.read_text().split()):
                found += [child, *descendants(child)]
    return found


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    folder = Path(tempfile.mkdtemp(prefix="fk-"))  # paths of sockets have at most 107 bytes
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", str(folder))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        (folder / "ray").mkdir()
        made = Cluster()
        patch.setenv("RAY_ADDRESS", made.ray.address)
        yield made
        made.ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root, generator = tmp_path_factory.mktemp("pairs"), np.random.default_rng(0)
    found = {"infrared": root / "ir", "visible": root / "vi"}
    for name, folder in found.items():
        folder.mkdir()
        for number in range(COUNT):
            shape = (120, 160) if name == "infrared" else (120, 160, 3)
            low = generator.integers(0, 256, (15, 20, *shape[2:]), np.uint8)
            write_image(folder / f"{number:02}.png", low.repeat(8, 0).repeat(8, 1))
    (found["visible"] / "07.png").write_bytes(b"no image")
    return found


class InterruptionError(Exception):
    pass


def interrupt() -> None:
    raise InterruptionError


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("[!.]*"))}


def test_an_interrupted_command_goes_on_in_the_cluster(cluster, folders, tmp_path, caplog):
    def loud(threads: int) -> Callable[[int], int]:
        logging.getLogger("fusionkit").warning("slow arithmetic")
        return abs

    model, pairs = fk.build("backbone", name="average"), list_pairs(folders)
    with RayEngine(workers=1) as engine:
        assert sorted(engine.run(loud, [-3, 2])) == [(0, 3), (1, 2)]
        assert "slow arithmetic" in caplog.text
        # The same worker takes the next job.
        options = FolderOptions(device=engine.device, engine=engine)
        with pytest.raises(InterruptionError):
            fuse_files(model, pairs, tmp_path / "a", None, options, progress=Watch(4, interrupt))
    assert not list(tmp_path.rglob(f"{TEMPORARY}*"))
    # It goes on in this process, because the records are the same.
    report = fuse_files(model, pairs, tmp_path / "a")
    assert 3 <= report.skipped < COUNT - 1
    fuse_files(model, pairs, tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_a_worker_takes_the_latest_job():
    worker, origin = ray_worker.Worker(threads=2), ray_worker.Origin.here([])
    for number, function in ((2, max), (1, min)):
        ready = worker.prepare(number, origin, pickle.dumps(partial(partial, function)))
        assert isinstance(ready, ray_worker.Ready)
    assert worker.work([3])[0] == [3]


def test_a_folder_that_a_node_does_not_see_is_an_error(tmp_path, monkeypatch):
    token = tmp_path / "token"
    token.write_text("here")
    origin = ray_worker.Origin.here([token])
    token.write_text("elsewhere")
    monkeypatch.setattr(ray_worker, "_PATIENCE", 0.0)
    with pytest.raises(FusionkitError, match=str(token)):
        origin.settle()


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def fusionkit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command in this process; return exit code, output and messages."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fusionkit", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        captured = capsys.readouterr()
        return int(stop.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture
def let_node_die(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Callable[..., None]:
    """Return a function after which the second node dies while a command works.

    Its argument is the module that the command takes the progress bar from.
    """

    def arm(module: ModuleType = progress) -> None:
        cluster.start_second()
        caplog.set_level(logging.DEBUG, "pool")  # commands set the level of "fusionkit"
        monkeypatch.setattr(ray_pool, "logger", logging.getLogger("pool"))
        monkeypatch.setattr(ray_pool, "_TASK_SECONDS", 0.0)  # many tasks, so both nodes have some
        watch = Watch(2, cluster.kill_second, lambda: caplog.text.count("is ready") >= 2)
        monkeypatch.setattr(module, "ProgressBar", watch)

    return arm


def sources(folders: dict[str, Path]) -> list[str]:
    return [part for name, path in folders.items() for part in ("--source", f"{name}={path}")]


def test_fuse_loses_nothing_when_a_node_dies(folders, fusionkit, tmp_path, let_node_die, caplog):
    command = ["fuse", *sources(folders), "--backbone", "laplacian-pyramid", "--symmetrize", "d4"]
    code, out, _ = fusionkit(*command, "-o", tmp_path / "local")
    assert (code, out) == (2, "")  # for the damaged image
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress, "ProgressBar", Watch(4, interrupt))
        patch.setattr(sys, "argv", ["fusionkit", *command, "-o", str(tmp_path / "ray")])
        with pytest.raises(InterruptionError):
            cli.main()
    let_node_die()
    # Where one process was interrupted, the cluster goes on.
    code, out, said = fusionkit(*command, "-o", tmp_path / "ray", "--engine", "ray")
    assert "died" in caplog.text
    assert (code, out) == (2, "")
    assert "done before and unchanged" in said
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")
    assert not list(tmp_path.rglob(f"{TEMPORARY}*"))
    records = (tmp_path / "ray" / ".fusionkit" / "done.jsonl").read_text().splitlines()
    assert len(records) == COUNT - 1


def test_metrics_lose_nothing_when_a_node_dies(folders, fusionkit, let_node_die, caplog):
    command = ["metrics", "--fused", folders["visible"], *sources(folders)]
    code, expected, _ = fusionkit(*command)
    assert code == 2
    assert expected.count("\n") == 1 + 13 * (COUNT - 1)
    let_node_die()
    code, out, _ = fusionkit(*command, "--engine", "ray")
    assert "died" in caplog.text
    assert (code, out) == (2, expected)


SUITE = """\
name: small
colour: visible
data:
  pairs: {name: paired-folders, root: %s, store: stream, score_on: all}
methods:
  visible only: {source: visible}
  pyramid: {backbone: {name: laplacian-pyramid}, stretch: minmax}
  network: {weights: %s}
tasks:
  fusion: {name: fusion-metrics, metrics: [EN, MSE]}
"""


@pytest.fixture(scope="module")
def suite(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("suite")
    for name, folder in folders.items():
        shutil.copytree(folder, root / "pairs" / name)
        (root / "pairs" / name / "07.png").unlink()  # the damaged image
    network = fk.build(
        "backbone", name="ufuser", channels=[4, 8], heads=4, modalities=tuple(folders)
    )
    fk.save(network, root / "network.safetensors")
    path = root / "suite.yaml"
    path.write_text(SUITE % (root / "pairs", root / "network.safetensors"))
    return path


def test_bench_loses_nothing_when_a_node_dies(
    suite, fusionkit, tmp_path, let_node_die, caplog, monkeypatch
):
    monkeypatch.setattr(bench, "environment", dict)  # it names the command
    code, out, _ = fusionkit("bench", suite, "--out", tmp_path / "local")
    assert (code, out) == (0, "")
    let_node_die(fused_images)
    code, out, _ = fusionkit("bench", suite, "--out", tmp_path / "ray", "--engine", "ray")
    assert "died" in caplog.text
    assert (code, out) == (0, "")
    files, expected = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*")}
        for folder in (tmp_path / "ray", tmp_path / "local")
    )
    assert sum(path.suffix == ".png" for path in files) == 3 * (COUNT - 1)
    assert files == expected


def test_a_method_that_no_other_process_can_have_is_one_sentence(
    cluster, suite, fusionkit, tmp_path
):
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        "import threading\n"
        "from fusionkit_classic.pointwise import Average\n"
        "class Locked(Average):\n"
        "    name = 'locked'\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self._lock = threading.Lock()\n"
    )
    path = tmp_path / "suite.yaml"
    path.write_text(suite.read_text().replace("{source: visible}", "{backbone: {name: locked}}"))
    options = ["--plugin", plugin, "--out", tmp_path / "out"]
    code, out, said = fusionkit("bench", path, *options, "--engine", "ray")
    assert (code, out) == (2, "")
    assert "Traceback" not in said
    assert "methods.visible only" in said
    assert "--engine ray" in said
