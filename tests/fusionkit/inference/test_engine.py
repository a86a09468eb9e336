"""The engine: what a second start does, kills, locks, links, and many threads on one network."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import fusionkit as fk
from fusionkit.errors import FusionkitError, WriteError
from fusionkit.inference.folders import FolderOptions, FusionReport, fuse_files
from fusionkit.inference.output import OutputFiles
from fusionkit.inference.parallel import in_parallel
from fusionkit.inference.records import FOLDER, owned
from fusionkit.inference.runner import NetworkRunner
from fusionkit.inference.sources import FusionOptions
from fusionkit.interfaces import Backbone, Images, Sample
from fusionkit.io.atomic_write import TEMPORARY
from fusionkit.io.images import read_image, write_image
from fusionkit.io.listing import PairFiles, list_pairs

COUNT = 24


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """Two folders with 24 pairs of 8 bits."""
    generator = np.random.default_rng(0)
    found = {"infrared": tmp_path / "ir", "visible": tmp_path / "vi"}
    for name, folder in found.items():
        folder.mkdir()
        for number in range(COUNT):
            shape = (64, 80) if name == "infrared" else (64, 80, 3)
            pixels = generator.integers(0, 256, shape, np.uint8)
            write_image(folder / f"{number:02}.png", pixels)
    return found


def contents(folder: Path) -> dict[str, bytes]:
    """Return what a user sees in a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("[!.]*"))}


def fuse(
    folders: dict[str, Path],
    out: Path,
    options: FusionOptions | None = None,
    *,
    backbone: str = "average",
    overwrite: bool = False,
) -> FusionReport:
    model = fk.build("backbone", name=backbone)
    folder_options = FolderOptions(overwrite=overwrite)
    return fuse_files(model, list_pairs(folders), out, options, folder_options)


def test_a_second_start_fuses_what_is_new_or_changed(folders, tmp_path: Path):
    out = tmp_path / "out"
    assert fuse(folders, out).skipped == 0
    first = contents(out)
    again = fuse(folders, out)
    assert (again.skipped, len(again.results)) == (COUNT, COUNT)
    assert fuse(folders, out, overwrite=True).skipped == 0
    assert contents(out) == first
    # A new source, a result that is gone, and a result that somebody has changed.
    write_image(folders["infrared"] / "03.png", np.zeros((64, 80), np.uint8))
    (out / "04.png").unlink()
    write_image(out / "05.png", np.zeros((20, 20), np.uint8))
    assert fuse(folders, out).skipped == COUNT - 3
    second = contents(out)
    assert {name for name in first if first[name] != second[name]} == {"03.png"}
    # Other options and other networks give other results.
    assert fuse(folders, out, FusionOptions(stretch="minmax")).skipped == 0
    assert fuse(folders, out, backbone="max").skipped == 0
    assert fuse(folders, out, backbone="max").skipped == COUNT


def test_a_path_may_be_spelled_otherwise(folders, tmp_path: Path, monkeypatch):
    fuse(folders, tmp_path / "out")
    monkeypatch.chdir(tmp_path)
    relative = {name: folder.relative_to(tmp_path) for name, folder in folders.items()}
    assert fuse(relative, Path("out")).skipped == COUNT


def test_a_damaged_record_counts_as_not_done(folders, tmp_path: Path):
    out = tmp_path / "out"
    fuse(folders, out)
    path = out / FOLDER / "done.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-2]) + b"{}\n[1\n" + lines[-1][:20])
    assert fuse(folders, out).skipped == COUNT - 2
    assert fuse(folders, out).skipped == COUNT


def test_killed_anywhere_it_ends_with_the_same_files(folders, tmp_path: Path):
    fuse(folders, tmp_path / "whole", backbone="laplacian-pyramid")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "fusionkit", "fuse", "-o", str(out)]
    command += ["--backbone", "laplacian-pyramid"]
    for name, folder in folders.items():
        command += ["--source", f"{name}={folder}"]
    # Slow enough to be hit: each write waits.
    slow = (
        "import time, sys, fusionkit.inference.output as o\n"
        "write = o.write_image\n"
        "def slowly(path, *more, **named):\n"
        "    write(path, *more, **named)\n"
        "    time.sleep(0.05)\n"
        "o.write_image = slowly\n"
        "from fusionkit.cli import main\n"
        "main()\n"
    )
    counts = []
    for wanted in (3, 9):
        with subprocess.Popen([sys.executable, "-c", slow, *command[3:]]) as process:
            deadline = time.monotonic() + 120
            while len(list(out.glob("*.png"))) < wanted and time.monotonic() < deadline:
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
        counts.append(len(list(out.glob("*.png"))))
    assert counts[0] < COUNT
    assert counts[0] <= counts[1]
    (out / f"{TEMPORARY}half.png").write_bytes(b"half")  # as a kill in the middle of writing leaves
    # With the options of the command.
    report = fuse(folders, out, FusionOptions(resample=True), backbone="laplacian-pyramid")
    assert report.skipped > 0
    assert contents(out) == contents(tmp_path / "whole")
    assert not list(out.rglob(f"{TEMPORARY}*"))


def test_two_processes_never_share_an_output_folder(folders, tmp_path: Path):
    out = tmp_path / "out"
    out.mkdir()
    holder = (
        "import sys, time; from pathlib import Path\n"
        "from fusionkit.inference.records import owned\n"
        "with owned(Path(sys.argv[1])):\n"
        "    print('mine', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(out)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "mine\n"
        with pytest.raises(FusionkitError, match=f"process {process.pid} "):
            fuse(folders, out)
        process.kill()
    assert fuse(folders, out).failures == ()
    with owned(out):
        pass


def test_only_leftovers_of_the_engine_are_removed(folders, tmp_path: Path):
    out = tmp_path / "out"
    (out / "own").mkdir(parents=True)
    for name in (f"{TEMPORARY}x.png", f"own/{TEMPORARY}x.png", "own/a.png", ".hidden.png"):
        (out / name).write_bytes(b"x")
    fuse(folders, out)
    left = sorted(path.relative_to(out).as_posix() for path in out.rglob("*x.png"))
    assert left == [f"own/{TEMPORARY}x.png"]
    assert (out / ".hidden.png").exists()
    assert (out / "own/a.png").exists()


def test_a_list_of_failures_that_is_not_ours_stays(folders, tmp_path: Path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "failures.csv").write_text("part,cause\n")
    fuse(folders, out)
    assert (out / "failures.csv").read_text() == "part,cause\n"


def test_links_never_let_a_result_replace_a_source(folders, tmp_path: Path):
    out = tmp_path / "out"
    out.mkdir()
    kept = out / "07.png"
    (folders["infrared"] / "07.png").rename(kept)
    (folders["infrared"] / "07.png").symlink_to(kept)
    before = kept.read_bytes()
    report = fuse(folders, out)
    assert [failure.id for failure in report.failures] == ["07"]
    assert kept.read_bytes() == before
    # A link in the place of a result is replaced; what it points to stays.
    target = folders["visible"] / "01.png"
    before = target.read_bytes()
    (out / "01.png").unlink()
    (out / "01.png").symlink_to(target)
    fuse(folders, out, overwrite=True)
    assert target.read_bytes() == before
    assert not (out / "01.png").is_symlink()


def test_a_full_disk_stops_the_work(folders, tmp_path: Path, monkeypatch):
    def full(*_: object) -> Path:
        raise WriteError("no space left")

    monkeypatch.setattr(OutputFiles, "write", full)
    with pytest.raises(WriteError):
        fuse(folders, tmp_path / "out")


class Fragile(Backbone):
    """Fails on one image, in a way that nobody foresaw."""

    name = "fragile"

    def forward(self, sources: Images) -> torch.Tensor:
        mean = torch.stack(list(sources.values())).mean(dim=0)
        if mean.max() == 0:
            raise ZeroDivisionError("nothing to see")
        return mean


def test_a_fault_of_the_network_costs_one_pair(folders, tmp_path: Path):
    for folder in folders.values():
        write_image(folder / "11.png", np.zeros((64, 80), np.uint8))
    report = fuse_files(Fragile(), list_pairs(folders), tmp_path / "out")
    assert [failure.id for failure in report.failures] == ["11"]
    assert "nothing to see" in report.failures[0].reason
    assert len(report.results) == COUNT - 1


def test_what_is_left_out_is_said(folders, tmp_path: Path, logged):
    (folders["infrared"] / "deep").mkdir()
    for name in ("deep/99.png", "lonely.png", "raw.seq", ".hidden.png"):
        (folders["infrared"] / name).write_bytes(b"")
    (folders["visible"] / "gone.png").symlink_to(tmp_path / "nowhere")
    os.mkfifo(folders["visible"] / "pipe.png")
    report = fuse(folders, tmp_path / "out")
    assert len(report.results) == COUNT
    said = "\n".join(logged)
    for word in ("deep", ".seq", "lonely", "gone.png", "pipe.png", "--recursive"):
        assert word in said
    assert "hidden" not in said


def test_folders_below(folders, tmp_path: Path):
    for folder in folders.values():
        (folder / "night" / "2").mkdir(parents=True)
        (folder / "00.png").rename(folder / "night" / "2" / "00.png")
    listing = list_pairs(folders, recursive=True)
    assert [pair.id for pair in listing.pairs[-2:]] == ["23", "night/2/00"]
    model = fk.build("backbone", name="average")
    fuse_files(model, listing, tmp_path / "out")
    assert read_image(tmp_path / "out/night/2/00.png").shape == (64, 80, 3)


def test_parallel_work_is_bounded_and_stops_at_an_error():
    begun, lock = [], threading.Lock()

    def work(number: int) -> int:
        with lock:
            begun.append(number)
        if number == 5:
            raise ValueError(number)
        return number

    seen = []
    with pytest.raises(ValueError, match="5"):  # noqa: PT012
        for _, number in in_parallel(work, iter(range(10**9)), workers=2):
            seen.append(number)
            assert len(begun) <= len(seen) + 6
    assert max(begun) < 12


class Counting(Backbone):
    """Remembers the size of each batch; slow, so that requests gather."""

    name = "counting"

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []

    def forward(self, sources: Images) -> torch.Tensor:
        first, second = sources.values()
        self.batches.append(len(first))
        time.sleep(0.02)
        return (first + second) / 2


def test_requests_of_many_threads_are_batched_by_size():
    network = Counting()
    runner = NetworkRunner(network, callers=8)
    runner._device = torch.device("meta")  # anything but a CPU, where images go side by side
    runner._run = lambda samples: network.fuse_batch(samples)  # type: ignore[method-assign]

    def fuse_one(number: int) -> bool:
        size = (16, 16) if number % 2 else (16, 20)
        first = torch.full((1, *size), number / 100)
        sample = Sample(str(number), {"mri": first, "pet": torch.zeros(1, *size)})
        return torch.allclose(runner.fuse(sample), first / 2)

    assert all(equal for _, equal in in_parallel(fuse_one, range(40), workers=8))
    assert sum(network.batches) == 40
    assert 1 < max(network.batches) <= 8


@pytest.mark.gpu
def test_a_gpu_gives_the_images_of_the_cpu(folders, tmp_path: Path):
    for device in ("cpu", "cuda"):
        model = fk.load("emma-ir-vis")
        options = FolderOptions(device=torch.device(device))
        fuse_files(model, list_pairs(folders), tmp_path / device, None, options)
    for name in ("00.png", "23.png"):
        one, other = (read_image(tmp_path / device / name) for device in ("cpu", "cuda"))
        assert np.abs(one.astype(int) - other).max() <= 1


def test_pairs_by_name_are_told_apart_from_their_files():
    pair = PairFiles("a", {"mri": Path("x/a.png"), "pet": Path("y/a.png")})
    assert OutputFiles(Path("out.png"), [pair], as_file=True).is_file
    assert not OutputFiles(Path("out"), [pair], as_file=True).is_file
