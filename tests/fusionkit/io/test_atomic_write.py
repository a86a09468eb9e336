"""Files appear whole or not at all."""

from __future__ import annotations

import errno
import os

import pytest

from fusionkit.errors import FusionkitError
from fusionkit.io.atomic_write import atomic_write, locked, write_text


def test_a_full_disk_is_one_sentence_and_leaves_the_old_file(tmp_path):
    path = tmp_path / "scores.csv"
    write_text(path, "old")

    def fill() -> None:
        with atomic_write(path) as temporary:
            temporary.write_text("half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(FusionkitError, match=r"scores\.csv can't be written: No space left"):
        fill()
    assert [p.name for p in tmp_path.iterdir()] == ["scores.csv"]
    assert path.read_text() == "old"


def test_faults_of_other_files_keep_their_traceback(tmp_path):
    missing = tmp_path / "source.png"
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "a.txt"):
        missing.read_bytes()
    with pytest.raises(KeyError), atomic_write(tmp_path / "a.txt"):
        raise KeyError("no fault of the disk")
    assert list(tmp_path.iterdir()) == []


def test_a_lock_is_held_by_one_and_free_again(tmp_path):
    path = tmp_path / "lock"
    with (
        locked(path),
        pytest.raises(FusionkitError, match=r"^somebody is at work$"),
        locked(path, "somebody is at work"),
    ):
        pass
    with locked(path, "somebody is at work"):
        pass
