"""Trainings in two processes: on two machines as one, and when one of them is killed."""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

RECIPE = """\
name: tiny
accelerator: cpu
data: {name: scenes, size: 48, train: 6, val: 2}
teacher: [{name: saliency}, {name: average}]
sensors:
  infrared: {name: unet, width: 2}
  visible: {name: unet, width: 2}
backbone: {name: ufuser, channels: [4, 8], heads: 4}
transforms: [{name: shift, count: 2}, {name: rotate, count: 1}, {name: reflect, count: 1}]
losses:
  - {name: sensing, noise: 0.02}
  - {name: equivariance, weight: 0.1, elements: 2, identity: true, masked: true, noise: 0.01}
stages:
  # Plain descent: Adam makes steps of full length out of the rounding errors in the gradients of
  # the biases in front of batch norms, which are zero.
  - {name: train-sensors, epochs: 1, batch_size: 2, crop: 32, noise: 0.1, augment: true,
     optimizer: {name: sgd, lr: 0.05}}
  - {name: train-backbone, distill: {epochs: 1, weight: 1.0}, epochs: 1, batch_size: 2, crop: 32,
     augment: true, blend: true, clip: 1.0, average: {decay: 0.9}}
  - {name: report, pairs: 1}
"""
PLUGIN = '''\
"""A loss that kills the second process in the middle of a training, once."""

import os
import signal
from pathlib import Path

from torch import Tensor

from fusionkit.interfaces import FusionStep, Loss


class Deadly(Loss):
    """Nothing but a kill, and then zero."""

    name = "deadly"

    def __init__(self):
        super().__init__()
        self.steps = 0

    def forward(self, step: FusionStep) -> Tensor:
        """Return 0."""
        self.steps += 1
        if os.environ["RANK"] == "1" and self.steps == 2 and not Path("killed-once").exists():
            Path("killed-once").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return 0 * step.fused.sum()
'''


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("processes")
    (folder / "tiny.yaml").write_text(RECIPE)
    (folder / "deadly.yaml").write_text(RECIPE.replace("losses:", "losses:\n  - {name: deadly}"))
    (folder / "deadly.py").write_text(PLUGIN)
    return folder


def start(place: Path, out: str, *arguments: str, launcher: tuple[str, ...] = ()):
    return subprocess.Popen(
        [sys.executable, "-m", *launcher, "fusionkit", "run", *arguments, "--out", out],
        cwd=place,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # Without the second, torchrun's processes may find addresses of those before a restart.
        env={**os.environ, "OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"},
    )


def finish(*processes: subprocess.Popen) -> None:
    for process in processes:
        said, _ = process.communicate(timeout=300)
        assert process.returncode == 0, said


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


@pytest.fixture(scope="module")
def alone(place) -> Path:
    finish(start(place, "one", "tiny.yaml"))
    return place / "one"


@pytest.fixture(scope="module")
def two_processes(place) -> Path:
    finish(start(place, "two", "tiny.yaml", "devices=2"))
    return place / "two"


@pytest.fixture(scope="module")
def two_machines(place) -> Path:
    address = ("--master-addr", "127.0.0.1", "--master-port", str(free_port()))
    machines = [
        start(
            place,
            "machines",
            "tiny.yaml",
            "num_nodes=2",
            launcher=(
                *("torch.distributed.run", "--nnodes", "2", "--node-rank", str(rank)),
                *(*address, "--nproc-per-node", "1", "-m"),
            ),
        )
        for rank in range(2)
    ]
    finish(*machines)
    return place / "machines"


@pytest.fixture(params=["two_processes", "two_machines"])
def shared(request) -> Path:
    """The folder of the same run in two processes."""
    return request.getfixturevalue(request.param)


def lines(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_the_losses_of_each_step_are_those_of_one_process(alone, shared):
    expected, found = lines(alone), lines(shared)
    assert [line["step"] for line in found] == [line["step"] for line in expected]
    assert len(found) > 9
    for one, two in zip(expected, found, strict=True):
        assert one.keys() == two.keys()
        for name in one.keys() - {"time", "stage"}:
            assert math.isclose(one[name], two[name], rel_tol=1e-5, abs_tol=1e-5), (name, one, two)


def test_the_weights_are_those_of_one_process(alone, shared):
    files = sorted(path.relative_to(alone) for path in alone.rglob("*.safetensors"))
    assert len(files) >= 4
    for file in files:
        one, two = load_file(alone / file), load_file(shared / file)
        assert one.keys() == two.keys()
        for name, weight in one.items():
            torch.testing.assert_close(two[name], weight, rtol=0, atol=1e-4, msg=name)


def test_the_first_process_alone_writes(shared):
    assert json.loads((shared / "environment.json").read_text())["processes"] == 2
    assert (shared / "report.html").is_file()
    stages = [(line["stage"], line["step"], *sorted(line)) for line in lines(shared)]
    assert len(stages) == len(set(stages))


def test_torchrun_starts_a_killed_process_again_and_the_run_goes_on(place, two_processes):
    torchrun = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    process = start(
        place,
        "killed",
        *("deadly.yaml", "--plugin", "deadly.py", "devices=2"),
        launcher=(*torchrun, "--max-restarts", "1", "-m"),
    )
    finish(process)
    assert (place / "killed-once").is_file()
    files = sorted(two_processes.rglob("*.safetensors"))
    assert len(files) >= 4
    for file in files:
        expected = load_file(file)
        found = load_file(place / "killed" / file.relative_to(two_processes))
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], weight) for name, weight in expected.items())
