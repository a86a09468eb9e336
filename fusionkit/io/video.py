"""Reads videos, streams and cameras frame by frame, with their time stamps."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fusionkit.errors import FusionkitError
from fusionkit.io.frames import Frame, FrameSource, Pixels
from fusionkit.io.image_sequence import (
    DEFAULT_RATE,
    ImageSequence,
    is_pattern,
    is_sequence,
    list_frames,
)

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

__all__ = [
    "VIDEO_SUFFIXES",
    "VideoSource",
    "import_av",
    "is_video",
    "open_frames",
]

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts")
"""Suffixes of files that are read as videos."""

_DEMUXERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts"
"""Formats of files. Playlists are not among them, so that no file opens others or a connection."""
_LIVE = ("rtsp", "rtsps", "rtmp", "rtmps", "rtp", "srt", "udp", "tcp", "unix")
"""Protocols whose sender doesn't wait for us."""
_TIMEOUT = 10.0
"""Seconds after which a stream that sends nothing has ended."""
_FIRST_SECONDS = 1
"""Length of the beginning of a stream on which its colour and its window are measured."""
_FIRST_BYTES = 1 << 28
"""Size of the pixels of that beginning; a stream of large frames is measured on fewer."""
_COLOURED_SPREAD, _COLOURED_PART = 16, 1e-3
"""A source has colour if in some frame the channels of more than one pixel in a thousand differ by
more than 16 levels. Compression tints grey videos by less."""
_HD = 720
"""Height from which a video that doesn't name its colour space is taken as BT.709."""


def is_video(source: str) -> bool:
    """Return whether a source is a video file, a stream, a camera or a pattern of numbered images.

    Args:
        source: What a user calls the source.

    Example:
        >>> [is_video(text) for text in ("a.mp4", "rtsp://camera/1", "/dev/video0", "f/%06d.png")]
        [True, True, True, True]
        >>> is_video("a.png"), is_video("folder")
        (False, False)
    """
    return (
        Path(source).suffix.lower() in VIDEO_SUFFIXES
        or "://" in source
        or source.startswith("/dev/video")
        or (is_pattern(source) and not Path(source).exists())
    )


def open_frames(
    source: str, *, rate: Fraction | None = None, colour: bool | None = None
) -> FrameSource:
    """Open a source of frames.

    Args:
        source: A video file; a folder of images, which are taken in the order of their names, with
            numbers in them compared as numbers; a pattern such as ``frames/%06d.png``; a device
            such as ``/dev/video0``; or the URL of a stream.
        rate: Frames per second of an image sequence, by default 25.
        colour: Whether to read the colour of a video; by default only if some frames have colour.

    Raises:
        FusionkitError: if it can't be opened, has no frames, or PyAV is not installed.

    Example:
        >>> import tempfile
        >>> from fusionkit.io.images import write_image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for number in (9, 10):
        ...         write_image(Path(folder, f"{number}.png"), np.full((16, 16), number, np.uint8))
        ...     [int(frame.pixels[0, 0]) for frame in open_frames(folder).frames()]
        [9, 10]
    """
    if not is_sequence(source):
        return VideoSource(source, colour=colour)
    return ImageSequence(source, list_frames(Path(source)), rate or DEFAULT_RATE)


class VideoSource(FrameSource):
    """A video file, a stream or a camera, read by PyAV.

    Grey videos of more than 8 bits give uint16, scaled to the whole range; all others give uint8.
    The size of the first frame holds for all: later ones of another size are scaled to it.

    Args:
        source: A file, a device or a URL.
        colour: Whether to read the colour; by default only if some frames have colour.

    Raises:
        FusionkitError: if it can't be opened or has no frames, or PyAV is not installed.
    """

    def __init__(self, source: str, *, colour: bool | None = None):
        self._file = None if "://" in source or source.startswith("/dev/") else Path(source)
        self._source = source
        self._container: InputContainer | None = self._open()
        stream = self._container.streams.video[0]
        rate = stream.average_rate or stream.guessed_rate or DEFAULT_RATE
        super().__init__(source, Fraction(rate), stream.time_base or 1 / Fraction(rate))
        self.paths = () if self._file is None else (self._file,)
        self.aspect = Fraction(stream.sample_aspect_ratio or 1)
        scheme = source.partition("://")[0].lower()
        self.live = source.startswith("/dev/") or ("://" in source and scheme in _LIVE)
        self.total = stream.frames or self._estimate_total(self._container, stream)
        self._promised = stream.frames
        audio = len(self._container.streams.audio)
        others = len(self._container.streams.video) - 1
        self.left_out = ("audio",) * bool(audio) + ("further video tracks",) * (others > 0)
        self._size: tuple[int, int] | None = None
        self._depth = _depth(stream)
        self._format: Literal["gray", "gray16le", "rgb24"] = "rgb24"
        if self._depth:
            self._format = "gray" if self._depth == 8 else "gray16le"
        self._first: list[Frame] = []
        self._rest: Iterator[Frame] = iter(())
        if self._file is None:
            self._rest = self._decode(self._container)
            for frame in self._rest:
                self._first.append(frame)
                size = len(self._first) * frame.pixels.nbytes
                if frame.until >= _FIRST_SECONDS or size >= _FIRST_BYTES:
                    break
            if not self._first:
                raise FusionkitError(f"{source}: expected a video, found no frame")
        self._choose_colour(colour)

    @property
    def has_colour(self) -> bool:
        """Whether frames are (h, w, 3)."""
        return self._format == "rgb24"

    def sample(self, count: int) -> list[Pixels]:
        """Return frames spread evenly over a file, or over the first second of a stream."""
        if self._file is None:
            places = np.linspace(0, len(self._first) - 1, min(count, len(self._first))).round()
            return [self._first[int(place)].pixels for place in places]
        with self._open() as container:
            stream = container.streams.video[0]
            pixels, last = [], None
            for place in range(count):
                part = Fraction(place, max(1, count - 1))
                frame = self._frame_near(container, stream, part, last)
                if frame is not None and frame.pts != last:
                    pixels.append(self._convert(frame))
                    last = frame.pts
            if not pixels:
                raise FusionkitError(
                    f"{self.name}: expected a video, found no frame that can be decoded; "
                    f"the file is damaged or incomplete"
                )
            return pixels

    def frames(self) -> Iterator[Frame]:
        """Yield the frames; what can't be decoded is left out, and is in ``problems``."""
        if self._file is not None:
            assert self._container is not None
            return self._decode(self._container)
        first, self._first = self._first, []
        return chain(first, self._rest)

    def close(self) -> None:
        """Close the file or the stream; safe to call twice."""
        if self._container is not None:
            self._container.close()
            self._container = None

    def _open(self) -> InputContainer:
        av = import_av()
        options: dict[str, str] = {}
        name, format, timeout = self._source, None, None
        if self._file is not None:
            _check_file(self._file)
            # Without the prefix, a name with a colon would be taken for a protocol.
            name = f"file:{self._file}"
            options = {"protocol_whitelist": "file", "format_whitelist": _DEMUXERS}
        elif self._source.startswith("/dev/"):
            format = "v4l2"
        else:
            timeout = _TIMEOUT
            if self._source.startswith("rtsp"):
                options = {"rtsp_transport": "tcp"}  # UDP loses packets, which smears pictures
        try:
            container = av.open(name, format=format, options=options, timeout=timeout)
        except (av.FFmpegError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise FusionkitError(
                f"{self._source} can't be opened as a video: {reason}; "
                + (
                    "the file is damaged or incomplete, or has another format"
                    if self._file is not None
                    else "check the address and whether the sender is running"
                )
            ) from None
        if not container.streams.video:
            container.close()
            raise FusionkitError(f"{self._source}: expected a video, found none in the file")
        if container.streams.video[0].codec_context is None:
            container.close()
            raise FusionkitError(
                f"{self._source}: this PyAV can't decode its codec; convert it to H.264"
            )
        container.streams.video[0].thread_type = "AUTO"
        return container

    @staticmethod
    def _estimate_total(container: InputContainer, stream: VideoStream) -> int | None:
        seconds = None
        if stream.duration is not None and stream.time_base is not None:
            seconds = float(stream.duration * stream.time_base)
        elif container.duration is not None:
            seconds = container.duration / 1e6
        return None if seconds is None else round(seconds * float(stream.average_rate or 0)) or None

    def _choose_colour(self, colour: bool | None) -> None:
        if self._depth:
            return
        if colour is None:
            colour = any(_is_coloured(pixels) for pixels in self.sample(8))
        if not colour:
            self._format = "gray"
            # What was read before is in colour: the compression tinted it, so take one channel.
            self._first = [
                replace(frame, pixels=np.ascontiguousarray(frame.pixels[..., 1]))
                for frame in self._first
            ]

    def _frame_near(
        self, container: InputContainer, stream: VideoStream, part: Fraction, last: int | None
    ) -> VideoFrame | None:
        """Return a frame near a place in the file, 0 to 1; None if none can be decoded there.

        It is the key frame before that place, or the frame there if the key frame was taken before.
        """
        av = import_av()
        duration = stream.duration
        if duration is None and container.duration is not None:
            duration = int(Fraction(container.duration, 1_000_000) / self.time_base)
        # The end itself holds no frame.
        wanted = (stream.start_time or 0) + int((duration or 0) * part * Fraction(99, 100))
        found = None
        try:
            container.seek(wanted, stream=stream, backward=True)
            for packet in container.demux(stream):
                for frame in packet.decode():
                    found = frame
                    if frame.pts is None or frame.pts >= wanted or last is None or frame.pts > last:
                        return frame
        except av.FFmpegError:
            pass
        return found

    def _decode(self, container: InputContainer) -> Iterator[Frame]:
        av = import_av()
        stream = container.streams.video[0]
        step = max(1, round(1 / (self.rate * self.time_base)))
        first: int | None = None
        count, damaged, last, end = 0, 0, -1, None
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError as error:
                end = f"{self.name} breaks off after {count} frames: {error.strerror}"
                break
            if packet is None:
                break
            try:
                decoded = packet.decode()
            except av.FFmpegError:
                damaged += 1
                continue
            for frame in decoded:
                pts = frame.pts if frame.pts is not None else last + step
                if first is None:
                    first, self.started = pts, time.monotonic()
                elif pts <= last:
                    continue  # a time stamp that repeats or runs back can't be shown
                damaged += bool(frame.is_corrupt)
                duration = frame.duration or step
                offset = (pts - first) * self.time_base
                yield Frame(
                    self._convert(frame), pts, duration, offset, offset + duration * self.time_base
                )
                count, last = count + 1, pts
        if damaged:
            self.problems.append(f"{self.name}: {damaged} damaged frames")
        if end is None and not self.live and count < self._promised:
            end = (
                f"{self.name} has {count} of the {self._promised} frames that it announces; "
                f"the file is incomplete"
            )
        if end is not None:
            self.problems.append(end)

    def _convert(self, frame: VideoFrame) -> Pixels:
        from av.video.reformatter import Colorspace, Interpolation

        if self._size is None:
            self._size = frame.height, frame.width
        height, width = self._size
        # Players take untagged videos of this height and more as BT.709.
        untagged = frame.colorspace == 2
        space = Colorspace.ITU709 if untagged and height >= _HD else None
        # The fast conversion of FFmpeg tints grey and is off by several levels.
        quality = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
        pixels = frame.reformat(
            width, height, self._format, src_colorspace=space, interpolation=quality
        ).to_ndarray()
        turns = round(frame.rotation / 90) % 4
        return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels


def import_av() -> Any:
    """Return the module ``av``.

    Raises:
        FusionkitError: if PyAV is not installed; says how to install it.

    Example:
        >>> import_av().__name__
        'av'
    """
    try:
        import av
    except ImportError as error:
        raise FusionkitError(
            f'videos need PyAV ({error}): run: pip install "fusionkit-mmif[video]"'
        ) from None
    return av


def _check_file(path: Path) -> None:
    try:
        if not path.exists():
            raise FusionkitError(f"the video {path} does not exist; check the path")
        if not path.is_file():  # opening a pipe would wait for a writer
            raise FusionkitError(f"expected a video, found the folder, pipe or device {path}")
        with path.open("rb"):
            pass
    except OSError as error:
        raise FusionkitError(f"{path} can't be read: {error.strerror}") from None


def _depth(stream: VideoStream) -> int:
    """Return the bits of a grey video; 0 for all others."""
    format = stream.codec_context.format
    if format is None or len(format.components) != 1 or format.has_palette:
        return 0
    return 8 if format.components[0].bits <= 8 else 16


def _is_coloured(pixels: Pixels) -> bool:
    spread = pixels.max(-1).astype(np.int16) - pixels.min(-1)
    return float((spread > _COLOURED_SPREAD).mean()) > _COLOURED_PART
