"""Faults of the disk at every write: one sentence, a consistent folder, and going on works.

A limit on the size of files cuts writes short in the middle, as a full disk does, whatever library
writes. A hook of Python's audit events refuses the n-th file that is opened for writing.
"""

from __future__ import annotations

import errno
import os
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
import torch

import fusionkit as fk
from fusionkit.cli import app
from fusionkit.cli.ending import run_to_the_end
from fusionkit.errors import WriteError
from fusionkit.io import images, tiff
from fusionkit.io.atomic_write import append_line, atomic_write, write_json

NOISE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def save_with_torch(path: Path) -> None:
    with atomic_write(path) as temporary:
        torch.save({"weight": torch.zeros(4096)}, temporary)


def write_tiff_rows(path: Path) -> None:
    tiff.write_rows(path, [NOISE], shape=NOISE.shape, dtype=NOISE.dtype)


WRITERS: dict[str, Callable[[Path], object]] = {
    "a.png": lambda path: images.write_image(path, NOISE),
    "deep.png": lambda path: images.write_image(path, NOISE[..., 0].astype(np.uint16) * 257),
    "a.jpg": lambda path: images.write_image(path, NOISE),
    "a.webp": lambda path: images.write_image(path, NOISE),
    "a.tif": lambda path: images.write_image(path, NOISE),
    "rows.tif": write_tiff_rows,
    "a.safetensors": lambda path: fk.save(fk.build("backbone", name="ufuser"), path),
    "a.pt": save_with_torch,
    "a.json": lambda path: write_json(path, list(range(5000))),
    "a.jsonl": lambda path: append_line(path, "x" * 5000),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_write_that_is_cut_short_is_one_sentence_and_leaves_nothing(tmp_path, name):
    path = tmp_path / name
    with largest_file(1000), pytest.raises(WriteError) as error:
        WRITERS[name](path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert [file for file in tmp_path.iterdir() if file.stat().st_size] == []
    WRITERS[name](path)
    assert path.stat().st_size > 1000


class Refusal:
    """Refuses the n-th opening for writing in a folder; counts them all."""

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.at = self.count = 0
        self.number = errno.ENOSPC
        sys.addaudithook(self._hook)  # for the rest of the process

    def _hook(self, event: str, arguments: tuple) -> None:
        if self.folder is None or event != "open" or not isinstance(arguments[0], str):
            return
        path, _, flags = arguments
        writes = flags & (os.O_WRONLY | os.O_RDWR)
        if not writes or not path.startswith(str(self.folder)) or ".lock" in path:
            return
        self.count += 1
        if self.count == self.at:
            raise OSError(self.number, os.strerror(self.number), path)

    @contextmanager
    def __call__(self, folder: Path, at: int = 0, number: int = errno.ENOSPC) -> Iterator[None]:
        self.folder, self.at, self.number, self.count = folder, at, number, 0
        try:
            yield
        finally:
            self.folder = None


@pytest.fixture(scope="module")
def refusal() -> Refusal:
    return Refusal()


def command(*arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        run_to_the_end(lambda: app([str(a) for a in arguments]))
    return int(end.value.code or 0)


def contents(folder: Path) -> dict[str, bytes]:
    """What a user takes from a folder: no times, no hidden records."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".png", ".safetensors", ".json") and "/." not in str(path)
    }


def no_rubbish(folder: Path) -> bool:
    return not [path for path in folder.rglob(".fusionkit-*") if path.is_file()]


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    for modality in ("infrared", "visible"):
        (folder / modality).mkdir()
        for k in range(2):
            images.write_image(folder / modality / f"{k}.png", NOISE[..., k])
    return folder


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EIO])
def test_fuse_at_every_write(sources, tmp_path, refusal, capfd, number):
    def fuse(out: Path) -> int:
        return command(
            "fuse", "--backbone", "average", "-o", out, "--source",
            f"infrared={sources / 'infrared'}", "--source", f"visible={sources / 'visible'}",
        )  # fmt: skip

    with refusal(tmp_path / "whole"):
        assert fuse(tmp_path / "whole") == 0
    writes = refusal.count
    assert writes >= 4
    expected = contents(tmp_path / "whole")
    for at in range(1, writes + 1):
        out = tmp_path / f"{number}-{at}"
        capfd.readouterr()
        with refusal(out, at, number):
            code = fuse(out)
        errors = capfd.readouterr().err
        assert code in (0, 2), (at, errors)
        assert "Traceback" not in errors
        if code:
            assert os.strerror(number) in errors
        assert no_rubbish(out)
        assert fuse(out) == 0
        assert contents(out) == expected


@pytest.fixture(scope="module")
def whole_run(tiny_recipe, tmp_path_factory, refusal) -> tuple[Path, dict[str, bytes], int]:
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch, refusal(folder / "runs"):
        patch.chdir(folder)
        assert command("run", tiny_recipe) == 0
    return tiny_recipe, contents(folder / "runs" / "tiny"), refusal.count


@pytest.mark.parametrize("share", [0.1, 0.5, 0.75, pytest.param(None, marks=pytest.mark.soak)])
def test_run_at_a_write(whole_run, tmp_path, refusal, capfd, monkeypatch, share):
    recipe, expected, writes = whole_run
    places = range(1, writes + 1) if share is None else [max(1, int(share * writes))]
    for at in places:
        folder = tmp_path / str(at)
        folder.mkdir()
        monkeypatch.chdir(folder)
        capfd.readouterr()
        with refusal(folder / "runs", at):
            code = command("run", recipe)
        errors = capfd.readouterr().err
        assert code in (0, 2), (at, errors)
        assert "Traceback" not in errors
        assert no_rubbish(folder)
        with suppress(OSError):
            assert not list(folder.rglob("*.damaged"))
        assert command("run", recipe) == 0
        found = contents(folder / "runs" / "tiny")
        assert found.keys() == expected.keys(), at
        for name in expected:
            if not name.endswith("json"):
                assert found[name] == expected[name], (at, name)
