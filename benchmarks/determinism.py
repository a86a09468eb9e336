"""Measures what a machine changes in a small run: python -m benchmarks.determinism.

The recipe ``quick.yaml`` trains, fuses and scores on one thread of one process; then again with one
thing changed each time. It prints a table: the share of the weights that differ, and the largest
difference; the share of the fused pixels that differ, the largest and the mean difference in levels
of 255. docs/reliability.md shows it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from fusionkit.io.images import read_image

HEADER = ("changed", "weights", "largest", "pixels", "largest", "mean")


@dataclass(frozen=True)
class Setting:
    """One thing that differs from the first run.

    Attributes:
        what: Its name in the table.
        environment: Environment variables.
        overrides: Arguments of ``fusionkit run``.
        cores: Number of cores that the process may use; all if None.
    """

    what: str
    environment: Mapping[str, str]
    overrides: Sequence[str] = ()
    cores: int | None = None


SETTINGS = (
    Setting("nothing: the same command again", {}),
    Setting("one core instead of all (`taskset -c 0`)", {}, cores=1),
    Setting("`OMP_NUM_THREADS=2`", {"OMP_NUM_THREADS": "2"}),
    *(
        Setting(f"`ATEN_CPU_CAPABILITY={level}`", {"ATEN_CPU_CAPABILITY": level})
        for level in ("default", "avx2", "avx512")
    ),
    *(
        Setting(f"`ONEDNN_MAX_CPU_ISA={level}`", {"ONEDNN_MAX_CPU_ISA": level})
        for level in ("SSE41", "AVX2", "AVX512_CORE")
    ),
    Setting("`devices=2`, the same batches in all", {}, ("devices=2",)),
    Setting("`seed=1`, to compare with", {}, ("seed=1",)),
)


def main() -> None:
    show(*HEADER)
    show("---", *["---:"] * (len(HEADER) - 1))
    with tempfile.TemporaryDirectory() as folder:
        first = train(Path(folder, "first"), Setting("", {}))
        for number, setting in enumerate(SETTINGS):
            other = train(Path(folder, str(number)), setting)
            show(setting.what, *differences(first, other))


def show(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


def train(folder: Path, setting: Setting) -> Path:
    """Run the recipe and return the run folder."""
    cores = sorted(os.sched_getaffinity(0))[: setting.cores]
    command = [sys.executable, "-m", "fusionkit", "run", "quick.yaml", "accelerator=cpu"]
    subprocess.run(
        [*command, *setting.overrides, "--out", str(folder)],
        check=True,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1", **setting.environment},
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    return folder


def differences(first: Path, other: Path) -> tuple[str, ...]:
    """Return the columns: how many weights and grey levels differ, and by how much."""
    weights = difference(weights_of(first), weights_of(other))
    pixels = difference(pixels_of(first), pixels_of(other))
    return (
        f"{weights.changed:.1%}",
        f"{weights.largest:.1e}" if weights.largest else "0",
        f"{pixels.changed:.1%}",
        f"{pixels.largest:.0f}",
        f"{pixels.mean:.2g}",
    )


@dataclass(frozen=True)
class Difference:
    """How much two arrays differ: a share of their values, the largest and the mean difference."""

    changed: float
    largest: float
    mean: float


def difference(first: np.ndarray, other: np.ndarray) -> Difference:
    apart = np.abs(first - other)
    return Difference(float(np.mean(apart > 0)), float(apart.max()), float(apart.mean()))


def weights_of(folder: Path) -> np.ndarray:
    """Return the weights of all networks after their training."""
    files = sorted((folder / "checkpoints").glob("*.safetensors"))
    tensors = [tensor for file in files for _, tensor in sorted(load_file(file).items())]
    return torch.cat([tensor.double().flatten() for tensor in tensors]).numpy()


def pixels_of(folder: Path) -> np.ndarray:
    """Return the pixels of the fused images, 0 to 255."""
    images = [read_image(file) for file in sorted((folder / "fused").glob("*.png"))]
    return np.concatenate([image.astype(float).ravel() for image in images])


if __name__ == "__main__":
    main()
