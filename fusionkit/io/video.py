"""Reads videos, streams, cameras and image sequences frame by frame, with their time stamps."""

from __future__ import annotations

import logging
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from fusionkit.errors import FusionkitError
from fusionkit.io.images import SUFFIXES, OpenedImage, list_folder, open_image, read_image

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

__all__ = [
    "DEFAULT_RATE",
    "VIDEO_SUFFIXES",
    "Frame",
    "FrameSource",
    "ImageSequence",
    "VideoSource",
    "import_av",
    "is_sequence",
    "is_video",
    "open_frames",
    "thin",
]

logger = logging.getLogger("fusionkit")

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts")
"""Suffixes of files that are read as videos."""

DEFAULT_RATE = Fraction(25)
"""Frames per second of an image sequence, as FFmpeg assumes them."""

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
_NUMBER = re.compile(r"%(0?)(\d*)d")
_HD = 720

Pixels = NDArray[Any]


@dataclass(frozen=True)
class Frame:
    """One frame.

    Attributes:
        pixels: (h, w) or (h, w, 3); uint8, uint16, or float32 for an image sequence with floats.
        pts: Time stamp in units of the source's ``time_base``.
        duration: How long it is shown, in the same units.
        time: Seconds since the first frame of the source.
        until: When the next frame is due, in seconds since the first frame of the source.
    """

    pixels: Pixels
    pts: int
    duration: int
    time: Fraction
    until: Fraction


class FrameSource(ABC):
    """A source of frames: a video, a stream, a camera or an image sequence.

    Attributes:
        name: Name for messages.
        paths: The files that it reads.
        rate: Frames per second; the average if the rate varies.
        time_base: Unit of time stamps in seconds.
        aspect: Width of a pixel divided by its height.
        total: Number of frames, estimated; None if it is not known, as for a stream.
        live: Whether frames come in real time, and are lost if they are not taken.
        left_out: What the source has that isn't read, such as ``audio``.
        problems: What was found to be wrong while reading: a sentence for each fault.
        started: When the first frame was there, by the clock of this machine.
    """

    def __init__(self, name: str, rate: Fraction, time_base: Fraction):
        self.name, self.rate, self.time_base = name, rate, time_base
        self.paths: tuple[Path, ...] = ()
        self.aspect = Fraction(1)
        self.total: int | None = None
        self.live = False
        self.left_out: tuple[str, ...] = ()
        self.problems: list[str] = []
        self.started = 0.0

    @abstractmethod
    def sample(self, count: int) -> list[Pixels]:
        """Return some frames: spread evenly over a file, or from the first second of a stream."""

    @abstractmethod
    def frames(self) -> Iterator[Frame]:
        """Yield the frames in the order of time. It may be called once."""

    @property
    @abstractmethod
    def has_colour(self) -> bool:
        """Whether frames are (h, w, 3)."""

    def close(self) -> None:  # noqa: B027 - an image sequence has nothing to close
        """Close what is open; safe to call twice."""


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
        or _is_pattern(source)
    )


def is_sequence(source: str) -> bool:
    """Return whether a source is a folder of images or a pattern of numbered images.

    Args:
        source: What a user calls the source.

    Example:
        >>> is_sequence("frames/%06d.png"), is_sequence("a.mp4")
        (True, False)
    """
    path = Path(source)
    return path.is_dir() or (_is_pattern(source) and not path.exists())


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
    path = Path(source)
    files = _sort_by_number(path) if path.is_dir() else _match_pattern(path)
    return ImageSequence(source, files, rate or DEFAULT_RATE)


class ImageSequence(FrameSource):
    """Images that are the frames of a video.

    Args:
        name: Name for messages.
        files: The images in order; all have the number of channels of the first, which must be
            readable.
        rate: Frames per second.
    """

    def __init__(self, name: str, files: Sequence[Path], rate: Fraction):
        super().__init__(name, rate, 1 / rate)
        self.paths = tuple(files)
        self.total = len(files)
        self._has_colour: bool | None = None
        self._has_colour = self.sample(1)[0].ndim == 3

    @property
    def has_colour(self) -> bool:
        """Whether frames are (h, w, 3)."""
        return bool(self._has_colour)

    def sample(self, count: int) -> list[Pixels]:
        """Return the pixels of images spread evenly over the sequence.

        Raises:
            FusionkitError: if none of them can be read.
        """
        places = np.linspace(0, len(self.paths) - 1, min(count, len(self.paths))).round()
        pixels, error = [], FusionkitError("")
        for place in places:
            try:
                pixels.append(self._read(self.paths[int(place)]))
            except FusionkitError as found:
                error = found
        if not pixels:
            raise error
        return pixels

    def frames(self) -> Iterator[Frame]:
        """Yield the images; one that can't be read is left out, and is in ``problems``."""
        for index, path in enumerate(self.paths):
            try:
                pixels = self._read(path)
            except FusionkitError as error:
                self.problems.append(str(error))
                continue
            yield Frame(pixels, index, 1, index / self.rate, (index + 1) / self.rate)

    def _read(self, path: Path) -> Pixels:
        pixels = read_image(path)
        if self._has_colour is not None and (pixels.ndim == 3) != self._has_colour:
            raise FusionkitError(
                f"{path}: expected {'colour' if self._has_colour else 'grey'} as in {self.paths[0]}"
                f", found {'grey' if self._has_colour else 'colour'}; convert it"
            )
        return pixels


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


def thin(pixels: Pixels, name: str, most: int = 1 << 18) -> OpenedImage:
    """Return an even sample of the pixels of a frame as an image, on which windows are measured.

    Args:
        pixels: (h, w) or (h, w, 3).
        name: Name for messages.
        most: Number of pixels that are kept.

    Example:
        >>> thin(np.zeros((1000, 1000)), "infrared", most=10_000).size
        (100, 100)
    """
    step = max(1, round((pixels.shape[0] * pixels.shape[1] / most) ** 0.5))
    return open_image(np.ascontiguousarray(pixels[::step, ::step]), name)


def _is_pattern(source: str) -> bool:
    path = Path(source)
    return _NUMBER.search(path.name) is not None and path.suffix.lower() in SUFFIXES


def _match_pattern(pattern: Path) -> list[Path]:
    """Return the files that match a pattern of FFmpeg, in the order of their numbers."""
    found = _NUMBER.search(pattern.name)
    assert found is not None
    zeros, width = found.groups()
    before, after = pattern.name[: found.start()], pattern.name[found.end() :]
    digits = rf"\d{{{width},}}" if zeros and width else r"\d+"
    regex = re.compile(f"{re.escape(before)}({digits}){re.escape(after)}")
    if not pattern.parent.is_dir():
        raise FusionkitError(f"the folder {pattern.parent} does not exist; check the path")
    numbered = {
        int(match[1]): path
        for path in pattern.parent.iterdir()
        if (match := regex.fullmatch(path.name)) is not None
    }
    if not numbered:
        raise FusionkitError(f"expected images that match {pattern}, found none; check the pattern")
    missing = max(numbered) - min(numbered) + 1 - len(numbered)
    if missing:
        logger.warning(f"{pattern}: {missing} of the numbers are missing; the others follow on")
    return [numbered[number] for number in sorted(numbered)]


def _sort_by_number(folder: Path) -> list[Path]:
    paths = [
        path
        for path in list_folder(folder)
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    ]
    if not paths:
        raise FusionkitError(
            f"expected images ({', '.join(SUFFIXES)}) in the folder {folder}, found none"
        )

    def key(path: Path) -> list[tuple[int, str]]:
        parts = re.split(r"(\d+)", path.name)
        return [(int(part), "") if part.isdigit() else (0, part) for part in parts]

    return sorted(paths, key=key)


def _check_file(path: Path) -> None:
    if not path.exists():
        raise FusionkitError(f"the video {path} does not exist; check the path")
    try:
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
