"""How fast training gets its data: rendered scenes, and the start on many files.

Scenes are rendered as a run renders them, by processes ahead of the training. The start is the time
from the command `fusionkit run` to its first training step.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.speed.classic import images
from benchmarks.speed.measurement import Row, Size
from fusionkit.inference.parallel import cores
from fusionkit.io.png import encode_png
from fusionkit.runs.components import StoredPatches
from fusionkit_scenes.dataset import Scenes

SCENES = {"small": 64, "full": 1600}
FILES = {"small": (64, 200), "full": (1000, 100_000)}
"""Numbers of pairs of files."""
SIDE = 64
RECIPE = """\
name: files
data: {{name: paired-folders, root: "{root}", patch: {side}, store: stream}}
teacher: [{{name: average}}]
sensors:
  infrared: {{name: unet, width: 2}}
  visible: {{name: unet, width: 2}}
backbone: {{name: ufuser, channels: [4, 8], heads: 4}}
losses: []
stages: [{{name: train-sensors, epochs: 1, batch_size: 4}}]
"""


def measure(size: Size) -> list[Row]:
    rows = _render(SCENES[size])
    few, many = FILES[size]
    with tempfile.TemporaryDirectory() as folder:
        started = {count: _start(Path(folder) / str(count), count) for count in (few, many)}
    what = f"start of a training on {many:,} pairs of {SIDE}x{SIDE}, `store: stream`"
    return [*rows, Row(what, started[many], "s", f"{few:,} pairs", started[few])]


def _render(count: int) -> list[Row]:
    """Return pairs per second, and per second of processor time, of processes and of this one."""
    scenes = Scenes(train=count, val=0)
    Scenes(train=1, val=0, seed=1)[0]  # warm-up
    rates, each = [], []
    for processes in (cores(), 0):
        patches = StoredPatches(scenes.patches(range(count)))
        start, used = time.perf_counter(), _processor_time()
        if processes:
            patches.prefetch(range(count))
        for index in range(count):
            _ = patches[index]
        rates.append(count / (time.perf_counter() - start))
        patches.prefetch(())  # ends the processes, so that their time is known
        each.append(count / (_processor_time() - used))
    what = f"scenes of {scenes.size}x{scenes.size} for training, rendered by {cores()} processes"
    per_core = f"{what}, per second of processor time"
    return [
        Row(what, rates[0], "pairs/s", "one process", rates[1], more_is_better=True),
        Row(per_core, each[0], "pairs/s", "one process", each[1], more_is_better=True),
    ]


def _processor_time() -> float:
    """Return seconds of processor time of this process and those that it has started and ended."""
    spent = os.times()
    return sum(spent[:4])


def _start(root: Path, count: int) -> float:
    """Return the seconds from a command to its first training step."""
    _write_pairs(root, count)
    recipe, log = root / "files.yaml", root / "run" / "log.jsonl"
    recipe.write_text(RECIPE.format(root=root, side=SIDE))
    command = [sys.executable, "-m", "fusionkit", "run", str(recipe), "--out", str(log.parent)]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not (log.is_file() and log.stat().st_size):
            if process.poll() not in (None, 0):
                raise subprocess.CalledProcessError(process.returncode, command)
            time.sleep(0.02)
        return time.perf_counter() - start
    finally:
        process.kill()
        process.wait()


def _write_pairs(root: Path, count: int) -> None:
    for modality, image in images(2 * SIDE, 2 * SIDE).items():
        pixels = np.rint(image[0, 0].numpy() * 255).astype(np.uint8)
        files = [
            encode_png(np.ascontiguousarray(pixels[k : k + SIDE, k : k + SIDE]))
            for k in range(SIDE)
        ]
        folder = root / modality
        folder.mkdir(parents=True)
        for number in range(count):
            (folder / f"{number:06d}.png").write_bytes(files[number % SIDE])
