"""Damaged and malicious videos; the whole ones are written by PyAV."""

from __future__ import annotations

import io
import os
import random
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

FRAMES = 4
FORMATS = {
    "mov.mp4": ("mp4", "libx264", "yuv420p"),
    "cluster.mkv": ("matroska", "libx264", "yuv420p"),
    "riff.avi": ("avi", "mpeg4", "yuv420p"),
    "packets.ts": ("mpegts", "mpeg2video", "yuv420p"),
    "deep.mkv": ("matroska", "ffv1", "gray16le"),
}


def video(format: str, codec: str, pixels: str, frames: int = FRAMES) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=format) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 24, pixels
        container.start_encoding()
        for number in range(frames):
            image = np.random.default_rng(number).integers(0, 256, (24, 32), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "gray")))
        if frames:
            container.mux(stream.encode())
    return file.getvalue()


def sound() -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate, frame.time_base = 8000, Fraction(1, 8000)
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()


@pytest.fixture(scope="session")
def whole() -> dict[str, bytes]:
    return {name: video(*how) for name, how in FORMATS.items()}


@pytest.fixture
def fuse(ends_well, whole, tmp_path) -> Callable[[object], int]:
    """Return a check of a fusion of a good video with another one."""
    good = tmp_path / "good.mp4"
    good.write_bytes(whole["mov.mp4"])
    options = ["--backbone", "average", "-o", tmp_path / "out.mp4", "--source", f"infrared={good}"]
    return lambda path: ends_well("fuse", *options, "--source", f"visible={path}")


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_videos(name, whole, fuse, damaged, tmp_path):
    data, chance = whole[name], random.Random(name)
    path = tmp_path / name
    path.write_bytes(data)
    assert fuse(path) == 0
    for copy in (copy for _ in range(2) for copy in damaged(data, chance)):
        path.write_bytes(copy)
        fuse(path)


def test_files_that_hold_no_video(fuse, tmp_path):
    contents = {
        "empty.mp4": b"",
        "zeros.mkv": b"\0" * 4096,
        "text.mp4": b"no video\n" * 100,
        "sound.mp4": sound(),
        "none.mp4": video("mp4", "libx264", "yuv420p", frames=0),
        "none.mkv": video("matroska", "libx264", "yuv420p", frames=0),
        "playlist.mp4": b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\ngood.mp4\n",
        "playlist.ts": b"#EXTM3U\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n",
        "list.mkv": b"ffconcat version 1.0\nfile good.mp4\n",
        "session.mp4": b"v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n",
        "manifest.mp4": b'<?xml version="1.0"?><MPD><Period><BaseURL>http://127.0.0.1:9/'
        b"</BaseURL></Period></MPD>",
    }
    for name, data in contents.items():
        path = tmp_path / name
        path.write_bytes(data)
        assert fuse(path) == 2, name


def test_headers_that_lie(whole, fuse, tmp_path):
    data = whole["mov.mp4"]
    huge = (0xFFFF).to_bytes(2, "big") * 2
    place = data.index(b"avc1", data.index(b"stsd")) + 4 + 24  # width and height
    assert data[place : place + 4] == (32).to_bytes(2, "big") + (24).to_bytes(2, "big")
    clock = data.index(b"mdhd") + 4 + 12
    count = data.index(b"stsz") + 4 + 8
    offsets = data.index(b"stco") + 4 + 8
    changes = {
        "huge": (place, huge),
        "nothing": (place, b"\0\0\0\0"),
        "no time": (clock, b"\0\0\0\0"),
        "many frames": (count, b"\x7f\xff\xff\xff"),
        "outside": (offsets, b"\xff\xff\xff\xf0"),
        "header of itself": (offsets, b"\0\0\0\0"),
    }
    changes |= {
        codec: (place - 28, codec.encode()) for codec in ("hvc1", "mp4v", "jpeg", "tx3g", "xxxx")
    }
    for name, (start, value) in changes.items():
        path = tmp_path / f"{name}.mp4"
        path.write_bytes(data[:start] + value + data[start + len(value) :])
        fuse(path)


def test_references_to_other_files(whole, fuse, tmp_path):
    """A data reference of QuickTime is not followed."""
    secret = tmp_path / "secret.bin"
    secret.write_bytes(whole["mov.mp4"])
    data = whole["mov.mp4"]
    for url in (f"file://{secret}", "http://127.0.0.1:9/a", str(secret), "../../etc/passwd"):
        start = data.index(b"dref") - 4
        size = int.from_bytes(data[start : start + 4], "big")
        entry = b"url \0\0\0\0" + url.encode() + b"\0"
        box = b"dref\0\0\0\0\0\0\0\1" + (len(entry) + 4).to_bytes(4, "big") + entry
        path = tmp_path / "reference.mov"
        grown = len(box) + 4 - size
        head = bytearray(data[:start])
        for parent in (b"moov", b"trak", b"mdia", b"minf", b"dinf"):
            at = head.rindex(parent) - 4
            length = int.from_bytes(head[at : at + 4], "big") + grown
            head[at : at + 4] = length.to_bytes(4, "big")
        path.write_bytes(
            bytes(head) + (len(box) + 4).to_bytes(4, "big") + box + data[start + size :]
        )
        fuse(path)


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


ENTRIES: dict[str, Callable[[Path], object]] = {
    "missing.mp4": lambda path: None,
    "pipe.mp4": make_pipe,
    "folder.mp4": lambda path: path.mkdir(),
    "dangling.mp4": lambda path: path.symlink_to("nowhere.mp4"),
    "loop.mp4": lambda path: path.symlink_to("loop.mp4"),
    "memory.mp4": lambda path: path.symlink_to("/proc/self/mem"),
    "endless.mp4": lambda path: path.symlink_to("/dev/zero"),
    "%d\n.png": lambda path: None,
    "n" * 300 + ".mp4": lambda path: None,
    "\udcff.mp4": lambda path: path.write_bytes(b"x"),
    "concat:good.mp4|good.mp4": lambda path: None,
    "subfile,,start,0,end,9,,:good.mp4": lambda path: None,
}


@pytest.mark.parametrize("name", ENTRIES)
def test_entries_that_are_no_file(name, fuse, tmp_path):
    ENTRIES[name](tmp_path / name)
    assert fuse(tmp_path / name) == 2


@pytest.mark.parametrize(
    "url", ["nonsense://x", "file:///etc/passwd", "concat://a|b", "data://text/plain,x", "://"]
)
def test_addresses_that_are_none(url, fuse):
    assert fuse(url) == 2
