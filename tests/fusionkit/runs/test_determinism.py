"""The same configuration and seed give the same bytes, however the work is dealt out."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from fusionkit.config.run_config import load_config
from fusionkit.io.hashes import file_hash
from fusionkit.io.images import write_image
from fusionkit.registry.plugins import load_plugins
from fusionkit.runs.pipeline import run_pipeline

# Everything that is drawn: order, crops, reflections, noise, blends, and elements of the groups.
RECIPE = """\
name: small
data: {data}
teacher: [{{name: average}}, {{name: laplacian-pyramid}}]
sensors:
  infrared: {{name: unet, width: 2}}
  visible: {{name: unet, width: 2}}
backbone: {{name: ufuser, channels: [4, 8], heads: 4}}
transforms: [{{name: shift, count: 1}}, {{name: reflect, count: 1}}]
losses:
  - {{name: sensing}}
  - {{name: equivariance, weight: 0.1, elements: 1, identity: false}}
stages:
  - {{name: train-sensors, epochs: 1, batch_size: 2, crop: 32, augment: true, blend: true,
     noise: 0.1}}
  - {{name: train-backbone, distill: {{epochs: 1}}, epochs: 1, batch_size: 2, crop: 32,
     augment: true, blend: true, average: {{decay: 0.9}}}}
  - {{name: fuse, baselines: [{{name: average}}]}}
"""


WITH_WORKERS = """\
import os
import sys
from pathlib import Path

import fusionkit.runs.components
import fusionkit_standard.folders
import fusionkit_standard.fuse
from fusionkit.config.run_config import load_config
from fusionkit.registry.plugins import load_plugins
from fusionkit.runs.pipeline import run_pipeline

recipe, out = Path(sys.argv[1]), Path(sys.argv[2])
opened = os.open(out / "opened", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
workers = 0


def note(event, values):
    if event == "open" and str(values[0]).startswith(f"{recipe.parent}/") and "png" in values[0]:
        os.write(opened, f"{workers} {os.getpid()} {values[0]}\\n".encode())


plugins = load_plugins()
fusionkit.runs.components.FEWEST = fusionkit_standard.folders._MANY = 1
sys.addaudithook(note)
for workers in (1, 2):
    fusionkit.runs.components.cores = lambda: workers
    fusionkit_standard.fuse.cores = lambda: 5 * workers
    run_pipeline(load_config(recipe, [], plugins), plugins, out / str(workers))
"""


@pytest.fixture(scope="module", params=["scenes", "paired-folders"])
def recipe(request, tmp_path_factory) -> Path:
    """A recipe whose data are rendered, or read from files."""
    folder = tmp_path_factory.mktemp("recipe")
    data = "{name: scenes, size: 48, train: 4, val: 2}"
    if request.param != "scenes":
        data = (
            f"{{name: paired-folders, root: {folder}, val: 0.2, patch: 48, stride: 48, "
            "min_contrast: 0, store: stream}"
        )
        generator = np.random.default_rng(0)
        for modality in ("infrared", "visible"):
            (folder / modality).mkdir()
            for number in range(9):  # more than a stream keeps in memory
                shape = (48, 96) if modality == "infrared" else (48, 96, 3)  # two patches
                pixels = generator.integers(0, 256, shape, np.uint8)
                write_image(folder / modality / f"{number}.png", pixels)
    path = folder / "small.yaml"
    path.write_text(RECIPE.format(data=data))
    return path


@pytest.fixture(scope="module")
def plugins():
    return load_plugins()


def results(folder: Path) -> dict[str, str]:
    """Return the digest of each file of weights and images."""
    found = {
        path.relative_to(folder).as_posix(): file_hash(path)
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".safetensors", ".png")
    }
    names = " ".join(found)
    assert all(part in names for part in ("sensor-visible", "backbone", "teacher", "fused/"))
    return found


@pytest.fixture(scope="module")
def expected(recipe, plugins, tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("run")
    run_pipeline(load_config(recipe, [], plugins), plugins, folder)
    return results(folder)


def test_the_number_of_workers_changes_no_byte(recipe, expected, tmp_path):
    """It runs in a fresh interpreter, because workers are forked, and the test runner has threads.

    The run to compare with makes its few patches in its own process.
    """
    command = [sys.executable, "-c", WITH_WORKERS, str(recipe), str(tmp_path)]
    subprocess.run(command, check=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"})
    for workers in (1, 2):
        assert results(tmp_path / str(workers)) == expected
    lines = [line.split() for line in (tmp_path / "opened").read_text().splitlines()]
    if not lines:
        return  # scenes have no files
    for workers, modality, pair in product("12", ("infrared", "visible"), range(1, 7)):
        path = str(recipe.parent / modality / f"{pair}.png")
        processes = [process for w, process, name in lines if (w, name) == (workers, path)]
        # For its header, and for both patches in the first of three epochs, in another process.
        assert len(processes) == len(set(processes)) == 2


@pytest.mark.parametrize("recipe", ["scenes"], indirect=True)
def test_another_process_gives_the_same_bytes(recipe, expected, tmp_path):
    """Python's order of sets differs from process to process."""
    subprocess.run(
        [sys.executable, "-m", "fusionkit", "run", str(recipe), "--out", str(tmp_path / "run")],
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "1", "OMP_NUM_THREADS": "1"},
    )
    assert results(tmp_path / "run") == expected
