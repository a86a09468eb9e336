"""Folders with hostile entries and names, tables of pairs, and what `metrics` is given."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from fusionkit.io.images import write_image

SOURCES = ["--source", "infrared=infrared", "--source", "visible=visible"]


@pytest.fixture
def folders(tmp_path, noise, monkeypatch) -> Path:
    """Make the working folder, with a folder for each modality and one pair."""
    monkeypatch.chdir(tmp_path)
    for modality in ("infrared", "visible"):
        (tmp_path / modality).mkdir()
        write_image(tmp_path / modality / "good.png", noise[..., 0])
    return tmp_path


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


ENTRIES: dict[str, Callable[[Path], object]] = {
    "pipe.png": make_pipe,
    "folder.png": lambda path: path.mkdir(),
    "dangling.png": lambda path: path.symlink_to("nowhere.png"),
    "loop.png": lambda path: path.symlink_to("loop.png"),
    "cycle": lambda path: path.symlink_to("."),
    "memory.png": lambda path: path.symlink_to("/proc/self/mem"),
    "endless.png": lambda path: path.symlink_to("/dev/zero"),
    "endless.tif": lambda path: path.symlink_to("/dev/zero"),
    "passwords.png": lambda path: path.symlink_to("/etc/passwd"),
    "empty.png": lambda path: path.touch(),
    "sparse.tif": lambda path: (path.touch(), os.truncate(path, 1 << 40)),
    "sparse.png": lambda path: (path.touch(), os.truncate(path, 1 << 40)),
}


@pytest.mark.parametrize("name", ENTRIES)
def test_entries_of_folders(name, folders, ends_well, refused):
    for modality in ("infrared", "visible"):
        ENTRIES[name](folders / modality / name)
    ends_well("fuse", "--backbone", "average", "-o", "out", "--recursive", *SOURCES)
    assert (folders / "out" / "good.png").is_file()
    ends_well("metrics", "--metric", "EN", "--fused", "out", *SOURCES)
    refused("fuse", "--backbone", "average", "-o", "one.png",
            "--source=infrared=infrared/good.png", f"--source=visible=visible/{name}")  # fmt: skip


NAMES = [
    "two\nlines", "return\r", "bell\a", "\x1b[31mred", "\x1b]0;title\x07", "\u202egnp.txt",
    "\u2066isolate", "=cmd|' -C calc'!A0", "+1", "@SUM(1)", "-rf", "--overwrite", "n" * 251,
    "ü" * 125, "\udcff", "\udc80\udc81", "\ufeff", "a" + "\u0301" * 60, "CON", "a:b", "a\\b",
    "%d", "%(name)s", "{0}", "{stem}", "${HOME}", "[red]x[]", "[[bold]", "[link=x]y",
    "<script>alert(1)<", '"onerror="x', "&amp;", ";ls", "|cat", "$(ls)", "*", "?", "~", " ",
    "a ", " b", ",", '"', '""', "'", "\t", "\v", "\u2028", "\u2029", "\x85",
]  # fmt: skip


def test_names_of_files(folders, noise, ends_well, capfd):
    for name in NAMES:
        for modality in ("infrared", "visible"):
            write_image(folders / modality / f"{name}.png", noise[..., 0])
    assert ends_well("fuse", "--backbone", "average", "-o", "out", *SOURCES) == 0
    made = {path.name for path in (folders / "out").glob("*.png")}
    assert made == {"good.png", *(f"{name}.png" for name in NAMES)}
    # what is done is known again
    assert ends_well("fuse", "--backbone", "average", "-o", "out", *SOURCES) == 0
    assert ends_well("metrics", "--metric", "EN", "--fused", "out", "--csv", "s.csv", *SOURCES) == 0
    for name in NAMES:
        (folders / "visible" / f"{name}.png").write_bytes(b"")
    assert ends_well("fuse", "--backbone", "average", "-o", "out", *SOURCES) == 2
    assert ends_well("metrics", "--metric", "EN", "--fused", "out", "--csv", "s.csv", *SOURCES) == 2


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_is_given(name, folders, noise, ends_well, capfd):
    for modality in ("infrared", "visible"):
        write_image(folders / modality / f"{name}.png", noise[..., 0])
    (folders / "bad.png").write_bytes(b"x")
    both = [f"--source=infrared=infrared/{name}.png", f"--source=visible=visible/{name}.png"]
    assert ends_well("fuse", "--backbone", "average", "-o", f"{name}.png", *both) == 0
    assert (folders / f"{name}.png").is_file()


def test_thousands_of_names(folders, ends_well):
    """Thousands of entries that are nothing cost little."""
    for modality in ("infrared", "visible"):
        for number in range(2_000):
            (folders / modality / f"{number}.{modality}.txt").touch()
            (folders / modality / f"{modality}{number}.png").symlink_to("nowhere")
    assert ends_well("fuse", "--backbone", "average", "-o", "out", *SOURCES) == 0


HEADER = "infrared,visible\n"
LINE = "infrared/good.png,visible/good.png\n"
TABLES: dict[str, tuple[bytes, int]] = {
    "empty": (b"", 2),
    "only a header": (HEADER.encode(), 2),
    "binary": (bytes(range(256)) * 4, 2),
    "zeros": (b"\0" * 1000, 2),
    "mark of order": (b"\xef\xbb\xbf" + (HEADER + LINE).encode(), 0),
    "UTF-16": ((HEADER + LINE).encode("utf-16"), 2),
    "open quote": ((HEADER + '"infrared/good.png,visible/good.png\n' + LINE).encode(), 2),
    "old line ends": ((HEADER + LINE).replace("\n", "\r").encode(), 0),
    "outside": ((HEADER + "../../etc/passwd,/etc/passwd\n").encode(), 2),
    "id outside": (("id," + HEADER + "../x," + LINE).encode(), 2),
    "absolute id": (("id," + HEADER + "/tmp/x," + LINE).encode(), 2),
    "hidden id": (("id," + HEADER + ".x," + LINE).encode(), 2),
    "id of two lines": (("id," + HEADER + '"a\nb",' + LINE).encode(), 0),
    "id with zero": (("id," + HEADER + '"a\0b",' + LINE).encode(), 2),
    "long id": (("id," + HEADER + "n" * 5000 + "," + LINE).encode(), 2),
    "formula": (("id," + HEADER + "=1+1," + LINE).encode(), 0),
    "no id": (("id," + HEADER + "," + LINE).encode(), 0),
    "twice": ((HEADER + LINE + LINE).encode(), 2),
    "many columns": (",".join(map(str, range(10**6))).encode() + b"\n" + b"x," * 10**6, 2),
    "many commas": ((HEADER + "," * 10**6).encode(), 2),
    "many lines": ((HEADER + ",\n" * 10**6).encode(), 2),
    "long cell": ((HEADER + "x" * 10**6 + ",y\n").encode(), 2),
    "one modality": (b"infrared\ninfrared/good.png\n", 2),
    "modality twice": (b"infrared,infrared\n" + LINE.encode(), 2),
    "modality with path": (b"../a,../b\n" + LINE.encode(), 0),
    "modality with markup": (b"[red]a,<script>\n" + LINE.encode(), 0),
    "addresses": ((HEADER + "http://127.0.0.1:9/a.png,file:///etc/passwd\n").encode(), 2),
    "folder for a file": ((HEADER + "infrared,visible\n").encode(), 2),
    "zero in a path": ((HEADER + "a\0.png,visible/good.png\n").encode(), 2),
    "surrogate": (HEADER.encode() + b"infrared/\xff.png,visible/good.png\n", 2),
}  # fmt: skip


@pytest.mark.parametrize("kind", TABLES)
def test_tables_of_pairs(kind, folders, ends_well):
    data, code = TABLES[kind]
    (folders / "pairs.csv").write_bytes(data)
    assert ends_well("fuse", "--backbone", "average", "-o", "out", "--pairs", "pairs.csv") == code
    made = {path.name for path in folders.iterdir()}
    assert made <= {"infrared", "visible", "out", "pairs.csv"}


def test_tables_that_are_no_file(folders, refused):
    os.mkfifo("pipe.csv")
    (folders / "loop.csv").symlink_to("loop.csv")
    (folders / "folder.csv").mkdir()
    for name in ("pipe.csv", "loop.csv", "folder.csv", "missing.csv", "/dev/zero", "n" * 300):
        refused("fuse", "--backbone", "average", "-o", "out", "--pairs", name)


def grey(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, shape, np.uint8)


def write_nan(path: Path) -> None:
    tifffile.imwrite(path.with_suffix(".tif"), np.full((48, 64), np.nan, np.float32))


FUSED: dict[str, Callable[[Path], object]] = {
    "smaller": lambda path: write_image(path, grey(47, 64)),
    "turned": lambda path: write_image(path, grey(64, 48)),
    "one pixel": lambda path: write_image(path, grey(1, 1)),
    "colour": lambda path: write_image(path, grey(48, 64, 3)),
    "deep": lambda path: write_image(path, np.full((48, 64), 65535, np.uint16)),
    "constant": lambda path: write_image(path, np.zeros((48, 64), np.uint8)),
    "NaN": write_nan,
    "beyond": lambda path: tifffile.imwrite(
        path.with_suffix(".tif"), np.full((48, 64), 1e30, np.float32)
    ),
    "infinite": lambda path: tifffile.imwrite(
        path.with_suffix(".tif"), np.full((48, 64), np.inf, np.float32)
    ),
    "text": lambda path: path.write_text("no image"),
    "empty": lambda path: path.touch(),
    "pipe": make_pipe,
    "folder": lambda path: path.mkdir(),
    "loop": lambda path: path.symlink_to(path.name),
    "missing": lambda path: None,
}


@pytest.mark.parametrize("kind", FUSED)
@pytest.mark.parametrize("role", ["fused", "visible"])
def test_images_that_metrics_is_given(kind, role, folders, noise, ends_well):
    (folders / "fused").mkdir()
    for folder in ("infrared", "visible", "fused"):
        for name in ("good.png", "x.png"):
            write_image(folders / folder / name, grey(48, 64))
    (folders / role / "x.png").unlink()
    FUSED[kind](folders / role / "x.png")
    ends_well("metrics", "--fused", "fused", "--csv", "scores.csv", *SOURCES)
    lines = (folders / "scores.csv").read_text().splitlines()
    assert any(line.startswith("good,") for line in lines)
    assert "nan" not in "".join(lines).lower()


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (2, 2), (10, 10), (16, 16)])
@pytest.mark.parametrize("value", [0, 255, None])
def test_tiny_and_constant_images_under_all_profiles(size, value, tmp_path, ends_well, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("infrared", "visible", "fused"):
        (tmp_path / folder).mkdir()
        image = grey(*size) if value is None else np.full(size, value, np.uint8)
        write_image(tmp_path / folder / "x.png", image)
    ends_well("metrics", "--fused", "fused", "--compare-profiles", "--csv", "s.csv", *SOURCES)
    assert "nan" not in Path("s.csv").read_text().lower()


def test_folders_that_metrics_is_given(folders, ends_well, refused, tmp_path):
    os.mkfifo("pipe")
    (folders / "empty").mkdir()
    (folders / "loop").symlink_to("loop")
    for fused in (
        "pipe",
        "empty",
        "loop",
        "missing",
        "n" * 300,
        "/proc/self/mem",
        "infrared/good.png",
    ):
        refused("metrics", "--fused", fused, *SOURCES)
        refused("metrics", "--fused", f"name={fused}", *SOURCES)
        refused("metrics", "--fused", "visible", "--source", f"a={fused}", "--source", "b=visible")
