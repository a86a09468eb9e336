"""Tensors that are kept in memory or in a file without a name."""

from __future__ import annotations

import errno
import os
import re
import warnings
from pathlib import Path

import pytest
import torch

from fusionkit.errors import FusionkitError
from fusionkit.io.tensor_store import TensorStore


@pytest.fixture(params=[0, 1 << 20], ids=["file", "memory"])
def store(request, tmp_path, monkeypatch) -> TensorStore:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return TensorStore(50, in_memory=request.param)


def test_what_was_put_is_got_and_nothing_else(store, tmp_path):
    tensors = torch.randn(50, 2, 5, 7)
    assert len(store) == 50
    for index in torch.randperm(50).tolist():
        assert index not in store
        with pytest.raises(KeyError):
            store.get(index)
        store.put(index, tensors[index])
        assert index in store
    assert all(torch.equal(store.get(index), tensors[index]) for index in range(50))
    assert not any(tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes can't be copied")
def test_copies_of_the_process_put_into_the_same_store(store):
    store.put(0, torch.zeros(3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the test runner has threads
        child = os.fork()
    if child == 0:
        store.put(1, torch.arange(3.0))
        os._exit(0)
    os.waitpid(child, 0)
    assert 1 not in store
    store.note(1)
    assert store.get(1).tolist() == [0, 1, 2]


def test_tensors_of_another_shape_are_refused(store):
    store.put(3, torch.zeros(1, 4, 4))
    with pytest.raises(ValueError, match=re.escape("(1, 4, 5)")):
        store.put(4, torch.zeros(1, 4, 5))
    assert 4 not in store


def test_a_large_store_is_no_memory_of_the_process(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    store = TensorStore(64, in_memory=0)
    store.put(0, torch.ones(1 << 18))
    maps = Path("/proc/self/maps").read_text().splitlines()
    mapped = [line for line in maps if str(tmp_path) in line]
    assert len(mapped) == 1
    start, end = (int(at, 16) for at in mapped[0].split()[0].split("-"))
    assert end - start == 64 * 4 * (1 << 18)


def test_a_full_disk_is_told_before_anything_is_written(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(FusionkitError, match=os.strerror(errno.ENOSPC)):
        TensorStore(4, in_memory=0).put(0, torch.zeros(3))
