"""Writes a video that appears whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusionkit.errors import FusionkitError, WriteError
from fusionkit.io.atomic_write import locked, make_folder
from fusionkit.io.video import import_av

__all__ = ["OUTPUT_SUFFIXES", "Timing", "VideoWriter", "check_output", "write_video"]

OUTPUT_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv")
"""Suffixes of videos that can be written. AVI holds no time stamps, and WebM no H.264."""

_CRF = 18
"""Default of H.264's constant rate factor; no loss can be seen."""
_HD = 720


@dataclass(frozen=True)
class Timing:
    """Times and shape of the frames that a video is made of.

    Attributes:
        rate: Frames per second, on average.
        time_base: Unit of time stamps in seconds.
        aspect: Width of a pixel divided by its height.
    """

    rate: Fraction
    time_base: Fraction
    aspect: Fraction = Fraction(1)


class VideoWriter:
    """Encodes frames, one by one; ``write_video`` makes it.

    Videos are H.264 with 4:2:0 chroma, which everything plays; 4:4:4 if the height or the width is
    odd. A PyAV without x264 writes MPEG-4 part 2.

    Args:
        path: The file.
        timing: Times of the frames.
        quality: 1 to 100; 100 loses nothing but the rounding of colours. By default about 65.
    """

    def __init__(self, path: Path, timing: Timing, quality: int | None = None):
        self._av = import_av()
        self._timing, self._quality = timing, quality
        self._container = self._av.open(f"file:{path}", "w", format=_muxer(path))
        self._stream: Any = None
        self.count = 0
        """Number of frames that were written."""

    def write(self, pixels: NDArray[np.uint8], pts: int, duration: int) -> None:
        """Write a frame.

        Args:
            pixels: (h, w) or (h, w, 3); all of the same shape.
            pts: Time stamp in units of the time base, larger than the one before.
            duration: How long it is shown, in the same units.
        """
        from av.video.reformatter import ColorRange, Colorspace, Interpolation

        if self._stream is None:
            self._stream = self._add_stream(pixels.shape[0], pixels.shape[1])
        frame = self._av.VideoFrame.from_ndarray(
            np.ascontiguousarray(pixels), format="gray" if pixels.ndim == 2 else "rgb24"
        ).reformat(
            format=self._stream.codec_context.pix_fmt,
            dst_colorspace=Colorspace.ITU709 if pixels.shape[0] >= _HD else Colorspace.ITU601,
            dst_color_range=ColorRange.MPEG,
            interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND,
        )
        frame.pts, frame.time_base, frame.duration = pts, self._timing.time_base, duration
        self._container.mux(self._stream.encode(frame))
        self.count += 1

    def close(self) -> None:
        """Write what is left, and close the file; safe to call twice."""
        if self._stream is not None:
            self._container.mux(self._stream.encode())
            self._stream = None
        self._container.close()

    def _add_stream(self, height: int, width: int) -> Any:
        h264 = "libx264" in self._av.codecs_available
        # The average rate of a camera may be no plain number; x264 uses it for its buffers only.
        rate = self._timing.rate.limit_denominator(1001)
        stream = self._container.add_stream("libx264" if h264 else "mpeg4", rate=rate)
        context = stream.codec_context
        stream.width, stream.height = width, height
        odd = width % 2 or height % 2
        context.pix_fmt = "yuv444p" if odd and h264 else "yuv420p"
        context.time_base = self._timing.time_base
        context.sample_aspect_ratio = self._timing.aspect
        context.colorspace = 1 if height >= _HD else 6
        context.color_range = 1
        quality = self._quality
        if h264:
            crf = _CRF if quality is None else round(51 * (100 - quality) / 100)
            context.options = {"crf": str(crf), "preset": "medium"}
        else:
            scale = 2 if quality is None else round(31 - 29 * quality / 100)
            context.qmin, context.qmax = scale, scale
        return stream


@contextmanager
def write_video(path: Path, timing: Timing, quality: int | None = None) -> Iterator[VideoWriter]:
    """Write a video, which appears whole at the end of the ``with`` block; an error removes it.

    Args:
        path: The file; what a killed process left half done beside it is removed.
        timing: Times of the frames.
        quality: 1 to 100; see ``VideoWriter``.

    Raises:
        FusionkitError: for another suffix, if another process writes the same file, or if no frame
            was written.
        WriteError: if the folder can't be written, or the disk is full.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     timing = Timing(Fraction(10), Fraction(1, 10))
        ...     with write_video(Path(folder, "a.mp4"), timing) as video:
        ...         video.write(np.zeros((16, 16), np.uint8), 0, 1)
        ...     [path.name for path in Path(folder).iterdir()]
        ['a.mp4']
    """
    check_output(path, quality)
    av = import_av()
    make_folder(path.parent)
    # Not named as other temporary files are: those are removed by who fuses images in the folder.
    temporary = path.with_name(f".part-{path.name}")
    lock = path.with_name(f".{path.name}.lock")
    with locked(lock, busy=f"{path} is being written by another process; name another file"):
        try:
            video = VideoWriter(temporary, timing, quality)
            try:
                yield video
            finally:
                video.close()
            if not video.count:
                raise FusionkitError(f"{path} was not written: the sources gave no frame")
            temporary.replace(path)
        except av.FFmpegError as error:
            raise WriteError(f"{path} can't be written: {error.strerror}") from error
        finally:
            temporary.unlink(missing_ok=True)
            lock.unlink(missing_ok=True)


def check_output(path: Path, quality: int | None = None) -> None:
    """Raise unless a video of this name and quality can be written.

    Args:
        path: The file.
        quality: 1 to 100, or None.

    Raises:
        FusionkitError: for a folder, another suffix or another quality.

    Example:
        >>> check_output(Path("fused.mp4"))
    """
    if path.is_dir():
        raise FusionkitError(f"expected a file to write, found the folder {path}; name a file")
    if path.suffix.lower() not in OUTPUT_SUFFIXES:
        raise FusionkitError(
            f"{path}: expected a video ({', '.join(OUTPUT_SUFFIXES)}), as the sources are videos, "
            f"found {path.suffix or 'no suffix'}"
        )
    if quality is not None and not 1 <= quality <= 100:
        raise FusionkitError(f"quality: expected 1 to 100, found {quality}")


def _muxer(path: Path) -> str:
    return {".mkv": "matroska", ".mov": "mov"}.get(path.suffix.lower(), "mp4")
