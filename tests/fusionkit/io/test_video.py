"""Reading and writing videos: frames, time stamps, colours, damage and streams."""

from __future__ import annotations

import http.server
import sys
import threading
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fusionkit.errors import FusionkitError
from fusionkit.io.video import is_video, open_frames
from fusionkit.io.video_writer import Timing, write_video

av = pytest.importorskip("av")

H, W = 32, 48


def grey_frames(count: int, dtype: type = np.uint8) -> list[np.ndarray]:
    """Return smooth frames whose mean grows from frame to frame."""
    ramp = np.linspace(0, 0.5, H * W).reshape(H, W)
    top = np.iinfo(dtype).max
    return [((ramp + 0.4 * i / count) * top).astype(dtype) for i in range(count)]


def encode(
    path: Path,
    frames: Sequence[np.ndarray],
    pts: Sequence[int] | None = None,
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    time_base: Fraction = Fraction(1, 1000),
    step: int = 40,
    audio: bool = False,
    format: str | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """Encode a video with PyAV alone."""
    source = {2: "gray16le" if frames[0].dtype == np.uint16 else "gray", 3: "rgb24"}
    with av.open(str(path), "w", format=format) as container:
        stream: Any = container.add_stream(codec, rate=round(1 / (step * time_base)))
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix_fmt
        stream.codec_context.time_base = time_base
        stream.codec_context.options = options or ({"crf": "1"} if codec == "libx264" else {})
        if audio:
            sound: Any = container.add_stream("pcm_s16le" if path.suffix == ".mkv" else "aac", 8000)
            sound.layout = "mono"
        for i, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format=source[pixels.ndim])
            frame.pts, frame.time_base = (i * step if pts is None else pts[i]), time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if audio:
            samples = av.AudioFrame.from_ndarray(
                np.zeros((1, 1024), np.float32 if sound.codec.name == "aac" else np.int16),
                format="fltp" if sound.codec.name == "aac" else "s16",
                layout="mono",
            )
            samples.sample_rate, samples.pts = 8000, 0
            container.mux(sound.encode(samples))
            container.mux(sound.encode())
    return path


def test_frames_and_time_stamps_are_those_of_opencv(tmp_path: Path):
    path = encode(tmp_path / "a.mp4", grey_frames(12))
    source = open_frames(str(path))
    frames = list(source.frames())
    source.close()
    capture = cv2.VideoCapture(str(path))
    for index, frame in enumerate(frames):
        ok, expected = capture.read()
        assert ok
        assert float(frame.time) * 1000 == pytest.approx(capture.get(cv2.CAP_PROP_POS_MSEC), abs=1)
        assert np.abs(frame.pixels.astype(int) - expected[..., 1]).max() <= 4
        assert frame.pts * source.time_base == Fraction(index, 25)
    assert not capture.read()[0]
    assert source.rate == 25
    assert source.total == len(frames) == 12


def test_a_variable_frame_rate_keeps_its_time_stamps(tmp_path: Path):
    pts = [0, 40, 50, 200, 233, 1000]
    path = encode(tmp_path / "a.mkv", grey_frames(6), pts)
    source = open_frames(str(path))
    assert [frame.time * 1000 for frame in source.frames()] == pts


def test_counts_of_sixteen_bits_are_read_exactly(tmp_path: Path):
    frames = grey_frames(3, np.uint16)
    path = encode(tmp_path / "a.mkv", frames, codec="ffv1", pix_fmt="gray16le")
    found = [frame.pixels for frame in open_frames(str(path)).frames()]
    assert all(np.array_equal(a, b) for a, b in zip(found, frames, strict=True))
    assert found[0].dtype == np.uint16


def test_only_videos_with_colour_are_read_in_colour(tmp_path: Path):
    grey = encode(tmp_path / "grey.mp4", grey_frames(3))
    red = np.zeros((H, W, 3), np.uint8)
    red[..., 0] = 200
    colour = encode(tmp_path / "red.mp4", [red] * 3)
    assert not open_frames(str(grey)).has_colour
    assert open_frames(str(grey), colour=True).has_colour
    source = open_frames(str(colour))
    assert source.has_colour
    pixels = next(source.frames()).pixels
    assert np.abs(pixels[4, 4].astype(int) - [200, 0, 0]).max() <= 4


@pytest.mark.parametrize("height", [480, 720])
def test_colours_survive_writing_and_reading_by_others(tmp_path: Path, height: int):
    colours = np.array([[200, 30, 30], [30, 160, 40], [40, 60, 200]], np.uint8)
    image = colours.repeat(32, 0)[None].repeat(height, 0)
    with write_video(tmp_path / "a.mp4", Timing(Fraction(10), Fraction(1, 10)), 90) as video:
        for i in range(3):
            video.write(image, i, 1)
    (frame, *_) = open_frames(str(tmp_path / "a.mp4")).frames()
    ok, opened = cv2.VideoCapture(str(tmp_path / "a.mp4")).read()
    assert ok
    for pixels in (frame.pixels, opened[..., ::-1]):
        assert np.abs(pixels[40, 16::32].astype(int) - colours).max() <= 6


@pytest.mark.parametrize("size", [(32, 48), (33, 47)])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_what_is_written_has_its_frames_times_and_size(tmp_path: Path, size, suffix: str):
    path = tmp_path / f"a{suffix}"
    pts = [0, 3, 4, 20, 31]
    with write_video(path, Timing(Fraction(10), Fraction(1, 50)), 80) as video:
        for value, time in enumerate(pts):
            video.write(np.full(size, 40 * value + 20, np.uint8), time, 1)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        assert [frame.pts * stream.time_base for frame in frames] == [
            Fraction(time, 50) for time in pts
        ]
        means = [frame.to_ndarray(format="gray").mean() for frame in frames]
    assert np.allclose(means, [20, 60, 100, 140, 180], atol=2)
    assert frames[0].height, frames[0].width == size
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_an_error_while_writing_leaves_what_was_there(tmp_path: Path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"before")
    timing = Timing(Fraction(10), Fraction(1, 10))

    def write() -> None:
        with write_video(path, timing) as video:
            video.write(np.zeros((H, W), np.uint8), 0, 1)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write()
    with pytest.raises(FusionkitError), write_video(path, timing):
        pass  # no frame
    with (
        pytest.raises(FusionkitError, match="another process"),
        write_video(tmp_path / "b.mp4", timing),
        write_video(tmp_path / "b.mp4", timing),
    ):
        pass


def test_a_truncated_file_gives_the_frames_before_and_says_so(tmp_path: Path):
    whole = encode(tmp_path / "a.mkv", grey_frames(40), options={"g": "5", "crf": "1"})
    data = whole.read_bytes()
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(data[: len(data) * 6 // 10])
    source = open_frames(str(cut))
    assert 5 < len(list(source.frames())) < 40
    # Matroska announces no number of frames; MP4 does.
    fast = encode(tmp_path / "a.mp4", grey_frames(40), options={"g": "5", "crf": "1"})
    with (
        av.open(str(fast)) as old,
        av.open(str(tmp_path / "fast.mp4"), "w", options={"movflags": "faststart"}) as new,
    ):
        out = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.dts is not None:
                packet.stream = out
                new.mux(packet)
    data = (tmp_path / "fast.mp4").read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: len(data) * 6 // 10])
    source = open_frames(str(cut))
    assert 5 < len(list(source.frames())) < 40
    assert source.problems


def test_what_is_no_video_is_refused(tmp_path: Path):
    no_index = encode(tmp_path / "a.mp4", grey_frames(4))
    no_index.write_bytes(no_index.read_bytes()[:400])
    # A playlist could name any file or address.
    secret = encode(tmp_path / "secret.ts", grey_frames(4))
    playlist = tmp_path / "playlist.mp4"
    playlist.write_text(f"#EXTM3U\n#EXTINF:1,\n{secret}\n#EXT-X-ENDLIST\n")
    sound = tmp_path / "sound.mp4"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("aac", 8000)
        container.mux(stream.encode())
    for source in (no_index, playlist, sound, tmp_path / "none.mp4"):
        with pytest.raises(FusionkitError):
            open_frames(str(source))
    with pytest.raises(FusionkitError):
        open_frames("tcp://127.0.0.1:9")


def test_audio_is_found(tmp_path: Path):
    path = encode(tmp_path / "a.mp4", grey_frames(4), audio=True)
    source = open_frames(str(path))
    assert source.left_out == ("audio",)
    assert len(list(source.frames())) == 4


def test_a_rotated_video_is_read_upright(tmp_path: Path):
    path = tmp_path / "a.mp4"
    image = np.zeros((H, W), np.uint8)
    image[:, : W // 2] = 200
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = H, W, "yuv420p"
        stream.set_display_rotation(90)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="gray")))
        container.mux(stream.encode())
    frame = next(open_frames(str(path)).frames())
    ok, expected = cv2.VideoCapture(str(path)).read()
    assert ok
    assert frame.pixels.shape == expected.shape[:2] == (W, H)
    assert np.abs(frame.pixels.astype(int) - expected[..., 1]).max() <= 8


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Serve the folder by HTTP, without ranges, so that nothing can seek."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

    handler = partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{found.server_port}"
        found.shutdown()


def test_a_stream_gives_all_its_frames(tmp_path: Path, server: str):
    encode(tmp_path / "a.ts", grey_frames(60))
    source = open_frames(f"{server}/a.ts")
    assert not source.live
    assert len(source.sample(4)) == 4
    frames = list(source.frames())
    assert len(frames) == 60
    assert frames[0].pixels.ndim == 2
    assert frames[0].time == 0
    source.close()


def test_without_pyav_the_message_says_what_to_install(tmp_path: Path, monkeypatch):
    path = encode(tmp_path / "a.mp4", grey_frames(2))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(FusionkitError, match=r"fusionkit-mmif\[video\]"):
        open_frames(str(path))


def test_what_counts_as_a_video():
    assert is_video("/dev/video2")
    assert is_video("A.MKV")
    assert not is_video("folder%d")
    assert not is_video("a.tif")
