"""The engine on a real Ray cluster of two nodes: same files, deaths, failures, interruptions."""

from __future__ import annotations

import logging
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fusionkit as fk
from fusionkit import cli
from fusionkit.errors import FusionkitError
from fusionkit.inference import ray_pool, ray_worker
from fusionkit.inference.folders import FolderOptions, FusionReport, fuse_files
from fusionkit.inference.ray_engine import RayEngine
from fusionkit.inference.symmetrize import symmetrized
from fusionkit.interfaces import Backbone
from fusionkit.io.atomic_write import TEMPORARY
from fusionkit.io.images import write_image
from fusionkit.io.listing import list_pairs

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own

COUNT = 32


class Watch:
    """Calls a function once some pairs are done; slow until then, so that all workers get pairs.

    Args:
        after: Number of pairs.
        call: The function.
        ready: Pairs count only when this holds.
    """

    def __init__(
        self, after: int, call: Callable[[], Any], ready: Callable[[], bool] = lambda: True
    ):
        self._left, self._call, self._ready = after, call, ready

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

        settings = {
            "num_cpus": 1,
            "object_store_memory": 100 << 20,
            "include_dashboard": False,
        }
        # Ray replaces 127.0.0.1 by the address of the network card.
        head = {**settings, "node_ip_address": "127.0.0.2"}
        self.ray = RayCluster(initialize_head=True, head_node_args=head)
        self.second = self.ray.add_node(**settings, node_ip_address="127.0.0.3")

    def kill_second(self) -> None:
        self.ray.remove_node(self.second, allow_graceful=False)


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


@pytest.fixture(scope="module")
def model() -> Backbone:
    return symmetrized(fk.build("backbone", name="laplacian-pyramid"), "d4")


@pytest.fixture(scope="module")
def whole(folders, model, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("whole")
    fuse_files(model, list_pairs(folders), out)
    return contents(out)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("[!.]*"))}


def fuse(model: Backbone, folders: dict[str, Path], out: Path, watch: Watch) -> FusionReport:
    assert not ray.is_initialized()
    with RayEngine() as engine:
        options = FolderOptions(device=engine.device, engine=engine)
        return fuse_files(model, list_pairs(folders), out, None, options, progress=watch)


class InterruptionError(Exception):
    pass


def test_an_interrupted_command_goes_on_in_the_cluster(cluster, folders, model, whole, tmp_path):
    def interrupt() -> None:
        raise InterruptionError

    with pytest.raises(InterruptionError):
        fuse(model, folders, tmp_path, Watch(4, interrupt))
    assert not list(tmp_path.rglob(f"{TEMPORARY}*"))
    # It goes on in this process, because the records are the same.
    report = fuse_files(model, list_pairs(folders), tmp_path)
    assert 3 <= report.skipped < COUNT - 1
    assert contents(tmp_path) == whole


def test_a_folder_that_a_node_does_not_see_is_an_error(tmp_path, monkeypatch):
    token = tmp_path / "token"
    token.write_text("here")
    origin = ray_worker.Origin.here([token])
    token.write_text("elsewhere")
    monkeypatch.setattr(ray_worker, "_PATIENCE", 0.0)
    with pytest.raises(FusionkitError, match=str(token)):
        origin.settle()


def test_a_node_that_dies_loses_nothing(
    cluster, folders, model, whole, tmp_path, caplog, monkeypatch
):
    caplog.set_level(logging.DEBUG, "fusionkit")
    monkeypatch.setattr(ray_pool, "_TASK_SECONDS", 0.0)  # many tasks, so both nodes have some
    watch = Watch(2, cluster.kill_second, lambda: caplog.text.count("is ready") == 2)
    report = fuse(model, folders, tmp_path, watch)
    assert "died" in caplog.text
    assert [failure.id for failure in report.failures] == ["07"]
    assert contents(tmp_path) == whole
    assert not list(tmp_path.rglob(f"{TEMPORARY}*"))
    records = (tmp_path / ".fusionkit" / "done.jsonl").read_text().splitlines()
    assert len(records) == COUNT - 1


def test_the_command_uses_the_cluster(cluster, folders, monkeypatch, tmp_path):
    options = ["-o", str(tmp_path), "--engine", "ray", "--backbone", "average"]
    for name, folder in folders.items():
        options += ["--source", f"{name}={folder}"]
    monkeypatch.setattr(sys, "argv", ["fusionkit", "fuse", *options])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2  # for the damaged image
    assert len(list(tmp_path.glob("*.png"))) == COUNT - 1
    assert (tmp_path / "failures.csv").read_text().count("\n") == 2
