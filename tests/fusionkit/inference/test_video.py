"""Fusing videos: pairing by time, steadiness, interruption, and what is said."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

import fusionkit as fk
from fusionkit.errors import FusionkitError
from fusionkit.inference.parallel import ReadAhead, in_order
from fusionkit.inference.sources import FusionOptions
from fusionkit.inference.video import VideoOptions, VideoReport, fuse_video
from fusionkit.interfaces import Backbone, Images
from fusionkit.io.images import write_image
from fusionkit.io.video import open_frames
from fusionkit.io.video_writer import Timing, write_video

av = pytest.importorskip("av")

MEAN = fk.build("backbone", name="average")
H, W = 32, 48


def make(path: Path, values: list[float], pts: list[int] | None = None, rate: int = 25) -> str:
    """Write a video of flat frames."""
    timing = Timing(Fraction(rate), Fraction(1, 1000))
    pts = [round(1000 * i / rate) for i in range(len(values))] if pts is None else pts
    with write_video(path, timing, 95) as video:
        for value, time_stamp in zip(values, pts, strict=True):
            video.write(np.full((H, W), value, np.uint8), time_stamp, 1000 // rate)
    return str(path)


def levels(path: Path) -> list[tuple[float, float]]:
    """Return (time, mean) of the frames of a video."""
    with av.open(str(path)) as container:
        return [
            (frame.time, float(frame.to_ndarray(format="gray").mean()))
            for frame in container.decode(video=0)
        ]


def fuse(sources: dict[str, str], out: Path, **options: object) -> VideoReport:
    return fuse_video(MEAN, sources, out, FusionOptions(**options))  # type: ignore[arg-type]


def test_each_frame_keeps_its_time_and_place(tmp_path: Path):
    pts = [0, 40, 90, 100, 300, 333, 500]
    a = make(tmp_path / "a.mkv", [0, 10, 20, 30, 40, 50, 60], pts)
    b = make(tmp_path / "b.mkv", [100, 110, 120, 130, 140, 150, 160], pts)
    report = fuse({"infrared": a, "visible": b}, tmp_path / "out.mp4")
    found = levels(tmp_path / "out.mp4")
    assert report.frames == len(found) == 7
    assert [round(1000 * moment) for moment, _ in found] == pts
    assert np.allclose([mean for _, mean in found], np.arange(7) * 10 + 50, atol=2.5)


def test_frames_of_other_rates_are_paired_by_time(tmp_path: Path, caplog):
    caplog.set_level(logging.INFO, "fusionkit")
    fast = make(tmp_path / "fast.mp4", [10 * i for i in range(20)], rate=20)
    slow = make(tmp_path / "slow.mp4", [40 * i for i in range(5)], rate=5)
    report = fuse({"infrared": fast, "visible": slow}, tmp_path / "out.mp4")
    assert report.frames == 20
    assert report.reused == {"visible": 15}
    nearest = [min(range(5), key=lambda j: (abs(i / 20 - j / 5), j)) for i in range(20)]
    expected = [(10 * i + 40 * j) / 2 for i, j in enumerate(nearest)]
    assert np.allclose([mean for _, mean in levels(tmp_path / "out.mp4")], expected, atol=3)
    assert "15 frames shown again" in caplog.text
    report = fuse({"visible": slow, "infrared": fast}, tmp_path / "out.mp4")
    assert report.frames == 5
    assert report.dropped == {"infrared": 12}


def test_the_shorter_source_ends_the_video(tmp_path: Path, caplog):
    caplog.set_level(logging.INFO, "fusionkit")
    long = make(tmp_path / "long.mp4", [50] * 30)
    short = make(tmp_path / "short.mp4", [50] * 10)
    assert fuse({"infrared": long, "visible": short}, tmp_path / "out.mp4").frames == 10
    assert "ends with visible" in caplog.text
    caplog.clear()
    assert fuse({"infrared": short, "visible": long}, tmp_path / "out.mp4").frames == 10
    assert "ends with infrared" in caplog.text


def test_colour_and_size_are_those_of_the_visible_video(tmp_path: Path):
    red = np.zeros((2 * H, 2 * W, 3), np.uint8)
    red[..., 0] = 180
    timing = Timing(Fraction(10), Fraction(1, 10))
    with write_video(tmp_path / "vi.mp4", timing, 95) as video:
        for i in range(4):
            # The first frame is black, as many videos begin; the result must stay in colour.
            video.write(red * (i > 0), i, 1)
    infrared = make(tmp_path / "ir.mp4", [100] * 4, rate=10)
    sources = {"infrared": infrared, "visible": str(tmp_path / "vi.mp4")}
    fuse(sources, tmp_path / "out.mp4")
    frames = [frame.pixels for frame in open_frames(str(tmp_path / "out.mp4")).frames()]
    assert frames[-1].shape == red.shape
    r, g, b = frames[-1][5, 5].astype(int)
    assert r > g + 40
    assert r > b + 40
    fuse(sources, tmp_path / "out.mp4", colour="none")
    assert not open_frames(str(tmp_path / "out.mp4")).has_colour


def test_counts_get_one_window_for_the_whole_video(tmp_path: Path):
    (tmp_path / "ir").mkdir()
    for index in range(10):
        ramp = np.linspace(7000, 8000, H * W).reshape(H, W) + 100 * index
        write_image(tmp_path / "ir" / f"{index}.png", ramp.astype(np.uint16))
    visible = make(tmp_path / "vi.mp4", [0] * 10)
    fuse({"infrared": str(tmp_path / "ir"), "visible": visible}, tmp_path / "out.mp4")
    means = [mean for _, mean in levels(tmp_path / "out.mp4")]
    # A window for each image would give them all the same mean.
    assert np.all(np.diff(means) > 2)


def test_a_stretch_follows_a_flash_slowly(tmp_path: Path):
    def write(path: Path, bright: int) -> None:
        with write_video(path, Timing(Fraction(25), Fraction(1, 25)), 95) as video:
            for i in range(20):
                image = np.full((H, W), 60, np.uint8)
                image[:8] = 120
                image[8:16] = 20
                if i == 10:
                    image[:2] = bright
                video.write(image, i, 1)

    for name in ("a", "b"):
        write(tmp_path / f"{name}.mp4", 250)
    sources = {name: str(tmp_path / f"{name}.mp4") for name in ("a", "b")}
    fuse(sources, tmp_path / "out.mp4", stretch="minmax")
    rows = [f.pixels[24].mean() for f in open_frames(str(tmp_path / "out.mp4")).frames()]
    assert 90 < rows[0] < 115  # stretched: (60 - 20) / (120 - 20) of 255
    # A stretch of the flash frame alone would give (60 - 20) / (250 - 20) of 255: 44.
    assert np.abs(np.diff(rows)).max() < 10


def test_one_shift_is_corrected_in_all_frames(tmp_path: Path):
    picture = np.random.default_rng(0).integers(0, 255, (30, 40), np.uint8)
    picture = np.kron(picture, np.ones((6, 6), np.uint8))
    timing = Timing(Fraction(10), Fraction(1, 10))
    for name, shift in (("a", 0), ("b", 4)):
        with write_video(tmp_path / f"{name}.mp4", timing, 95) as video:
            for i in range(6):
                part = picture[10 : 10 + 128, 10 + shift + i : 10 + shift + i + 160]
                video.write(part, i, 1)
    sources = {name: str(tmp_path / f"{name}.mp4") for name in ("a", "b")}
    fuse(sources, tmp_path / "out.mp4", align=True)
    frames = [frame.pixels for frame in open_frames(str(tmp_path / "out.mp4")).frames()]
    for i, pixels in enumerate(frames):
        expected = picture[10 : 10 + 128, 10 + i : 10 + i + 160]
        inner = (slice(16, -16), slice(16, -16))
        assert np.abs(pixels[inner].astype(int) - expected[inner]).mean() < 8


def test_what_cannot_be_fused_is_refused_and_nothing_is_written(tmp_path: Path):
    a = make(tmp_path / "a.mp4", [10] * 3)
    b = make(tmp_path / "b.mp4", [10] * 3)
    sources = {"infrared": a, "visible": b}
    before = sorted(path.name for path in tmp_path.iterdir())
    (tmp_path / "link.mp4").symlink_to(a)
    for out in ("a.mp4", "link.mp4", "out.avi", "out"):
        with pytest.raises(FusionkitError):
            fuse(sources, tmp_path / out)
    (tmp_path / "link.mp4").unlink()
    with pytest.raises(FusionkitError):
        fuse({"infrared": a}, tmp_path / "out.mp4")
    with pytest.raises(FusionkitError):
        fuse(sources, tmp_path / "out.mp4", bits=16)
    with pytest.raises(FusionkitError):
        fuse(sources, tmp_path / "out.mp4", colour="radar")
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_network_that_diverged_leaves_no_file(tmp_path: Path):
    class Diverged(Backbone):
        name = "diverged"

        def forward(self, sources: Images) -> torch.Tensor:
            return next(iter(sources.values())) * torch.nan

    a = make(tmp_path / "a.mp4", [10] * 3)
    with pytest.raises(FusionkitError, match="NaN"):
        fuse_video(Diverged(), {"infrared": a, "visible": a}, tmp_path / "out.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_a_damaged_source_is_reported_and_strict_refuses_it(tmp_path: Path):
    whole = Path(make(tmp_path / "whole.mp4", [10] * 6))
    folder = tmp_path / "ir"
    folder.mkdir()
    for i in range(6):
        write_image(folder / f"{i}.png", np.full((H, W), 90, np.uint8))
    (folder / "3.png").write_bytes(b"damaged")
    sources = {"infrared": str(folder), "visible": str(whole)}
    report = fuse(sources, tmp_path / "out.mp4", colour="visible")
    assert report.frames == 6  # the frame before is shown again
    assert len(report.problems) == 1
    assert "3.png" in report.problems[0]
    with pytest.raises(FusionkitError, match=r"3\.png"):
        fuse_video(MEAN, sources, tmp_path / "b.mp4", video_options=VideoOptions(strict=True))
    assert not (tmp_path / "b.mp4").exists()


def test_a_live_stream_is_fused_until_it_ends(tmp_path: Path):
    make(tmp_path / "a.mp4", [80] * 40)
    with av.open(str(tmp_path / "a.mp4")) as old, av.open(str(tmp_path / "a.ts"), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    data = (tmp_path / "a.ts").read_bytes()
    ports = []
    for _ in range(2):
        listener = socket.create_server(("127.0.0.1", 0))
        ports.append(listener.getsockname()[1])

        def serve(listener: socket.socket = listener) -> None:
            with listener, listener.accept()[0] as connection:
                connection.sendall(data)

        threading.Thread(target=serve, daemon=True).start()
    sources = {
        name: f"tcp://127.0.0.1:{port}"
        for name, port in zip(("infrared", "visible"), ports, strict=True)
    }
    report = fuse(sources, tmp_path / "out.mp4")
    found = levels(tmp_path / "out.mp4")
    assert 1 <= report.frames <= 40
    assert len(found) == report.frames
    assert all(abs(mean - 80) < 3 for _, mean in found)


SCRIPT = """
import sys, time
from pathlib import Path
import fusionkit as fk
from fusionkit.inference.video import fuse_video
from fusionkit.interfaces import Backbone

class Slow(Backbone):
    name = "slow"
    def forward(self, sources):
        time.sleep(0.05)
        return next(iter(sources.values()))

class Told:
    def expect(self, total): pass
    def step(self, values=None): print("frame", flush=True)

report = fuse_video(Slow(), {"infrared": sys.argv[1], "visible": sys.argv[1]}, Path(sys.argv[2]),
                    progress=Told())
print(report.frames, report.interrupted)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_signal_ends_the_file_properly_or_leaves_none(tmp_path: Path, number: int):
    a = make(tmp_path / "a.mp4", [10] * 300)
    out = tmp_path / "out.mp4"
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, a, str(out)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for _ in range(5):
        assert process.stdout.readline() == "frame\n"
    assert not out.exists()
    os.kill(process.pid, number)
    rest = process.communicate(timeout=60)[0]
    if number == signal.SIGKILL:
        assert not out.exists()
        fuse({"infrared": a, "visible": a}, out)
        count = 300
    else:
        count, interrupted = rest.splitlines()[-1].split()
        assert interrupted == "True"
        assert 5 <= int(count) < 300
    assert len(levels(out)) == int(count)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "out.mp4"]


def test_results_are_in_order_though_work_is_not():
    delays = [0.05, 0.0, 0.02, 0.0, 0.01]

    def work(index: int) -> int:
        time.sleep(delays[index])
        return index

    assert list(in_order(work, range(5), workers=3)) == [0, 1, 2, 3, 4]


def test_reading_ahead_is_bounded_drops_the_oldest_and_stops():
    taken = []

    def count():
        for i in range(1000):
            taken.append(i)
            yield i

    reader = ReadAhead(count(), size=3)
    assert next(reader) == 0
    time.sleep(0.2)
    assert len(taken) <= 6
    assert reader.join(5)
    dropping = ReadAhead(range(10), size=2, drop=True)
    time.sleep(0.2)
    assert list(dropping) == [8, 9]
    assert dropping.dropped == 8

    def fail():
        yield 1
        raise FusionkitError("broken")

    with pytest.raises(FusionkitError, match="broken"):
        list(ReadAhead(fail(), size=2))
