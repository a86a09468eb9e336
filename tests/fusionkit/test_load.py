"""Memory and open files of ``fuse`` do not grow with the number of pairs."""

from __future__ import annotations

import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import pytest

import fusionkit as fk
from fusionkit.inference.folders import fuse_files
from fusionkit.inference.records import FOLDER
from fusionkit.io.images import write_image
from fusionkit.io.listing import list_pairs

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

DIFFERENT = 64
"""Number of pairs whose pixels differ; the others are links to them."""
LARGEST_GROWTH = 1.05
"""Of the memory, after the first tenth of the pairs."""

Value = TypeVar("Value")


@dataclass(frozen=True)
class Held:
    """What a process holds at a moment.

    Attributes:
        memory: Resident memory in MB (10^6 bytes).
        files: Number of open file descriptors.
        done: Number of pairs that it has fused.
    """

    memory: float
    files: int
    done: int = 0


def held(process: int | str = "self", done: int = 0) -> Held:
    folder = Path("/proc", str(process))
    lines = (folder / "status").read_text().splitlines()
    memory = next(line for line in lines if line.startswith("VmRSS")).split()[1]
    return Held(int(memory) * 1024 / 1e6, len(list((folder / "fd").iterdir())), done)


def write_pairs(root: Path, count: int, shape: tuple[int, int]) -> dict[str, Path]:
    """Write pairs of noise."""
    generator = np.random.default_rng(0)
    folders = {modality: root / modality for modality in ("infrared", "visible")}
    for folder in folders.values():
        folder.mkdir()
        for number in range(count):
            path = folder / f"{number:06}.png"
            if number < DIFFERENT:
                write_image(path, generator.integers(0, 256, shape, np.uint8))
            else:
                path.hardlink_to(folder / f"{number % DIFFERENT:06}.png")
    return folders


class Watch(Generic[Value]):
    """Progress that reads a value after every n-th pair."""

    def __init__(self, read: Callable[[], Value], every: int):
        self._read, self._every, self._done = read, every, 0
        self.values: list[Value] = []

    def expect(self, total: int) -> None: ...

    def step(self, values: Mapping[str, float] | None = None) -> None:
        self._done += 1
        if self._done % self._every == 0:
            self.values.append(self._read())


def test_pairs_leave_no_image_in_memory_and_no_file_open(tmp_path):
    count, side = 400, 256
    folders = write_pairs(tmp_path, count, (side, side))
    watch = Watch(held, every=20)
    fuse_files(
        fk.build("backbone", name="average"), list_pairs(folders), tmp_path / "out", progress=watch
    )
    early, late = watch.values[5:10], watch.values[-5:]
    forgotten = (count - 200) * side**2 / 1e6  # one image in 8 bits of each pair
    assert min(h.memory for h in late) - min(h.memory for h in early) < forgotten / 2
    assert min(h.files for h in late) <= max(h.files for h in early)


def test_pairs_leave_hardly_an_object_in_memory(tmp_path):
    folders = write_pairs(tmp_path, 500, (24, 32))

    def traced() -> int:
        if not tracemalloc.is_tracing():
            tracemalloc.start()
        return tracemalloc.get_traced_memory()[0]

    watch = Watch(traced, every=10)
    network = fk.build("backbone", name="average")
    try:
        fuse_files(network, list_pairs(folders), tmp_path / "out", progress=watch)
    finally:
        tracemalloc.stop()
    early, late = watch.values[10:20], watch.values[-10:]
    assert min(late) - min(early) < 300 * 100  # the path of each result would be 290 bytes


@pytest.mark.soak
def test_a_hundred_thousand_pairs(tmp_path, capsys):
    count = 100_000
    folders = write_pairs(tmp_path, count, (24, 32))
    out, log = tmp_path / "out", tmp_path / "log"
    command = [sys.executable, "-m", "fusionkit", "fuse", "--backbone", "average", "-o", str(out)]
    command += [f"--source={modality}={folder}" for modality, folder in folders.items()]
    found: list[Held] = []
    started = time.monotonic()
    with log.open("w") as errors:
        process = subprocess.Popen(command, stderr=errors)
        while process.poll() is None:
            if 0 < (done := fused(out)) < count:  # later it lists its results, and ends
                found.append(held(process.pid, done))
            time.sleep(0.2)
    seconds = time.monotonic() - started
    assert process.returncode == 0, log.read_text()
    names = {path.name for path in out.iterdir() if path.is_file()}
    assert names == {f"{number:06}.png" for number in range(count)}
    first, later = ([h for h in found if (h.done > count // 10) is part] for part in (False, True))
    with capsys.disabled():
        print(f"\n{len(names):,} pairs in {seconds:.0f} s; {len(found):,} samples")
        for part in (first, later):
            print(
                f"  from pair {part[0].done:,} to {part[-1].done:,}: "
                f"{min(h.memory for h in part):.0f} to {max(h.memory for h in part):.0f} MB, "
                f"at most {max(h.files for h in part)} open files"
            )
    assert max(h.memory for h in later) <= LARGEST_GROWTH * later[0].memory
    assert max(h.files for h in later) <= max(h.files for h in first) + 1


def fused(out: Path) -> int:
    """Return the number of pairs that a running command has fused."""
    records = out / FOLDER / "done.jsonl"
    # Each pair has a line of the same length.
    line = '["000000", "000000.png", "1f088423414e8f891bc20260edfb0fde"]\n'
    return records.stat().st_size // len(line) if records.is_file() else 0
