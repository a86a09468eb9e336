"""Training patches that other processes make."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch

from fusionkit.runs.components import FEWEST, StoredPatches
from fusionkit_scenes.dataset import Scenes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are copied on Linux")


def _prefetch(count: int) -> tuple[list[int], bool]:
    """Return the number of processes before, amid and after the patches, and if these are right."""
    scenes = Scenes(size=32, train=count, val=0)
    expected = [scenes[index].images for index in range(count)]
    stored = StoredPatches(scenes.patches(range(count)))
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0)).tolist()
    stored.prefetch(order)
    processes, found = [_children()], {}
    for number, index in enumerate(order):
        found[index] = stored[index].images
        if number in (count // 2, count - 1):
            processes.append(_children())
    stored.prefetch(order)  # there is nothing left to do
    processes.append(_children())
    same = (
        torch.equal(images[name], found[index][name])
        for index, images in enumerate(expected)
        for name in images
    )
    return processes, all(same)


def _children() -> int:
    task = Path(f"/proc/self/task/{os.getpid()}/children")
    return len(task.read_text().split())


def test_patches_of_other_processes_are_the_same_and_the_processes_end(call_elsewhere):
    (before, amid, after, again), same = call_elsewhere(_prefetch, FEWEST)
    assert same
    assert before == amid > 0
    assert after == again == 0


def test_few_patches_need_no_other_process(call_elsewhere):
    assert call_elsewhere(_prefetch, FEWEST - 1) == ([0, 0, 0, 0], True)
