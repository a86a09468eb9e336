"""Fuses videos, streams, cameras and image sequences into a video."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from statistics import median
from types import FrameType
from typing import Any

import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from fusionkit.errors import FusionkitError
from fusionkit.functional.translation import translate
from fusionkit.inference.devices import Precision
from fusionkit.inference.finishing import finished, fused_luminance
from fusionkit.inference.frame_pairs import FramePairs, PairedFrames
from fusionkit.inference.parallel import ReadAhead, cores, in_order
from fusionkit.inference.preprocessing import PreprocessedPair, preprocess
from fusionkit.inference.runner import NetworkRunner
from fusionkit.inference.sources import FusionOptions, OpenedSources
from fusionkit.inference.steady_range import SteadyRange
from fusionkit.inference.tiles import choose_tile, fuse_in_tiles
from fusionkit.interfaces import Backbone
from fusionkit.io.frames import Frame, FrameSource, thin
from fusionkit.io.image_sequence import is_sequence
from fusionkit.io.listing import check_count, many
from fusionkit.io.pairs import pair_images
from fusionkit.io.video import open_frames
from fusionkit.io.video_writer import Timing, VideoWriter, check_output, write_video
from fusionkit.io.windows import find_windows
from fusionkit.progress import Progress, SilentProgress

__all__ = ["VideoOptions", "VideoReport", "fuse_video"]

logger = logging.getLogger("fusionkit")

_SAMPLE = 16
"""Windows are measured on this many frames, spread evenly over a file."""
_AHEAD = 4
"""Frames of each source that are decoded ahead."""
_ALIGNED_ON, _ALIGNED_BYTES = 15, 1 << 28
"""The shift between the sources is measured on this many frames at the beginning; on fewer if they
are larger than this together."""


@dataclass(frozen=True)
class VideoOptions:
    """How videos are read and written.

    Attributes:
        quality: Quality of the result from 1 to 100; see ``VideoWriter``.
        rate: Frames per second of image sequences. By default those of the first source that is a
            video, or 25.
        strict: Write nothing if a source has damaged frames or breaks off.
        device: Where the network computes; where it is by default.
        precision: Arithmetic of the network.
    """

    quality: int | None = None
    rate: Fraction | None = None
    strict: bool = False
    device: torch.device | None = None
    precision: Precision = "fp32"

    def __post_init__(self) -> None:
        if self.rate is not None and self.rate <= 0:
            raise FusionkitError(f"rate: expected more than 0 frames per second, found {self.rate}")


@dataclass(frozen=True)
class VideoReport:
    """What became of the videos.

    Attributes:
        path: The fused video.
        frames: Number of its frames.
        seconds: How long fusing took.
        reused: Modality -> number of frames that were shown again, because its rate is lower.
        dropped: Modality -> number of frames that were left out, because its rate is higher.
        problems: What was wrong with the sources: a sentence for each fault.
        interrupted: Whether a signal ended the video before its sources ended; what was fused until
            then is in it. A signal is the ordinary end of a stream or a camera.
    """

    path: Path
    frames: int
    seconds: float
    reused: Mapping[str, int]
    dropped: Mapping[str, int]
    problems: tuple[str, ...] = ()
    interrupted: bool = False


def fuse_video(
    model: Backbone,
    sources: Mapping[str, str | Path],
    out: Path,
    options: FusionOptions | None = None,
    video_options: VideoOptions | None = None,
    *,
    progress: Progress | None = None,
) -> VideoReport:
    """Fuse videos frame by frame.

    Each frame of the colour source, or of the first source if none has colour, is fused with the
    nearest frame in time of the others, and keeps its time stamp. Time runs from the first frame of
    each source. The result ends with the shortest source.

    The sources are treated alike in all frames, so that the result does not flicker: windows are
    measured once, on a sample of frames over the whole file, or on the first second of a stream;
    ``align`` measures one shift at the beginning; with ``stretch``, the range follows the extremes
    of the frames slowly (see ``SteadyRange``).

    Frames are decoded, fused and encoded at the same time, and memory does not grow with the length
    of the video. Ctrl-C and SIGTERM end the video properly, with the frames fused until then.

    Args:
        model: A backbone.
        sources: Modality -> video file, folder of images, pattern (``frames/%06d.png``), device or
            URL; see ``open_frames``.
        out: A video file: ``.mp4``, ``.mov``, ``.m4v`` or ``.mkv``.
        options: How to fuse each frame. Results have 8 bits.
        video_options: How to read and write.
        progress: Receives the number of frames, if it is known, and a step for each of them.

    Raises:
        FusionkitError: for sources that can't be opened or don't fit each other, an output that is
            a source, or options that don't fit. With ``strict``, for damaged sources.
        WriteError: if the result can't be written, because of a full disk for instance.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> import fusionkit as fk
        >>> from fusionkit.io.images import write_image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     sources = {name: Path(folder, name) for name in ("infrared", "visible")}
        ...     for path in sources.values():
        ...         path.mkdir()
        ...         for number in range(3):
        ...             write_image(path / f"{number}.png", np.zeros((16, 16), np.uint8))
        ...     average = fk.build("backbone", name="average")
        ...     fuse_video(average, sources, Path(folder, "fused.mp4")).frames
        3
    """
    options, video_options = options or FusionOptions(), video_options or VideoOptions()
    check_count(sources)
    check_output(out, video_options.quality)
    options.check_modalities(sources)
    if options.bits == 16:
        raise FusionkitError("bits: videos are written with 8 bits; leave out 16, or fuse images")
    options = replace(options, bits=8, resample=True)
    with ExitStack() as stack:
        opened = _open(sources, options, video_options, stack)
        _check_apart(out, opened)
        options = replace(options, colour=_choose_colour(opened, options))
        work = _VideoWork(model, opened, options, video_options)
        return work.run(out, video_options, progress or SilentProgress(), stack)


def _open(
    sources: Mapping[str, str | Path],
    options: FusionOptions,
    video_options: VideoOptions,
    stack: ExitStack,
) -> dict[str, FrameSource]:
    """Open the sources: videos first, as their rate is that of the sequences beside them."""
    rate = video_options.rate
    opened: dict[str, FrameSource] = {}
    names = {modality: str(source) for modality, source in sources.items()}
    for modality in sorted(names, key=lambda modality: is_sequence(names[modality])):
        colour = True if options.colour == modality else None
        source = open_frames(names[modality], rate=rate, colour=colour)
        stack.callback(source.close)
        rate = rate or source.rate
        opened[modality] = source
        for what in source.left_out:
            logger.info(f"{modality}: {what} of {source.name} left out")
        if is_sequence(names[modality]) and video_options.rate is None:
            logger.info(
                f"{modality}: {many(source.total or 0, 'image')} taken for "
                f"{float(source.rate):g} frames a second; another rate: --fps"
            )
    return {modality: opened[modality] for modality in sources}


def _check_apart(out: Path, opened: Mapping[str, FrameSource]) -> None:
    for source in opened.values():
        if out.resolve() in {path.resolve() for path in source.paths}:
            raise FusionkitError(f"the output {out} is one of the sources; name another file")


def _choose_colour(opened: Mapping[str, FrameSource], options: FusionOptions) -> str:
    """Return the modality whose colour the video has, the same for all frames."""
    if options.colour is not None:
        return options.colour
    coloured = [modality for modality, source in opened.items() if source.has_colour]
    return "visible" if "visible" in coloured else next(iter(coloured), "none")


@dataclass(frozen=True)
class _Unfinished:
    """A fused luminance that is going to be stretched, in the order of time."""

    luminance: Float[Tensor, "1 h w"]
    scene: PreprocessedPair


@dataclass(frozen=True)
class _FusedFrame:
    reference: Frame
    image: NDArray[Any] | _Unfinished


class _VideoWork:
    """Fuses opened sources, and keeps account of their frames."""

    def __init__(
        self,
        model: Backbone,
        opened: Mapping[str, FrameSource],
        options: FusionOptions,
        video_options: VideoOptions,
    ):
        self._opened, self._options = opened, options
        colour = options.colour or "none"
        self._reference = colour if colour in opened else next(iter(opened))
        samples = {modality: source.sample(_SAMPLE) for modality, source in opened.items()}
        first = pair_images({m: pixels[0] for m, pixels in samples.items()}, resample=True)
        self._windows = find_windows(
            {m: [thin(pixels, m) for pixels in found] for m, found in samples.items()},
            options.windows,
            choose_for_arrays=True,
        )
        # Chosen once: tiles that come and go with the free memory would flicker.
        self._tile = choose_tile(model, first, options) if options.stretch == "none" else None
        self._shifts: Mapping[str, tuple[float, float] | None] = {}
        self._workers = max(2, cores())
        self._runner = NetworkRunner(
            model, video_options.device, video_options.precision, callers=self._workers
        )
        self._interrupted = False

    def run(
        self, out: Path, video_options: VideoOptions, progress: Progress, stack: ExitStack
    ) -> VideoReport:
        reference = self._opened[self._reference]
        readers = {
            modality: ReadAhead(source.frames(), _AHEAD, drop=source.live)
            for modality, source in self._opened.items()
        }
        # Joined before the sources are closed, because closing under a reading thread crashes.
        for reader in readers.values():
            stack.callback(reader.join, 30.0)
        total = self._estimate_total()
        if total is not None:
            progress.expect(total)

        def stop() -> None:
            self._interrupted = True
            for reader in readers.values():
                reader.stop()

        timing = Timing(reference.rate, reference.time_base, reference.aspect)
        started = time.perf_counter()
        with _stopping_by_signal(stop), write_video(out, timing, video_options.quality) as video:
            pairs = FramePairs(readers, self._reference, self._begins())
            self._write(video, pairs, progress)
            problems = tuple(p for source in self._opened.values() for p in source.problems)
            if problems and video_options.strict:
                raise FusionkitError("; ".join(problems) + "; repair it, or leave out --strict")
        seconds = time.perf_counter() - started
        report = VideoReport(
            out,
            video.count,
            seconds,
            pairs.reused,
            pairs.dropped,
            problems,
            self._interrupted and not any(source.live for source in self._opened.values()),
        )
        self._log(report, pairs, {name: reader.dropped for name, reader in readers.items()})
        return report

    def _write(self, video: VideoWriter, pairs: FramePairs, progress: Progress) -> None:
        steady = SteadyRange()
        moments = self._measure_shift(iter(pairs)) if self._options.align else iter(pairs)
        origin: int | None = None
        for fused in in_order(self._fuse, enumerate(moments), self._workers):
            image, frame = fused.image, fused.reference
            if isinstance(image, _Unfinished):
                extremes = [float(value) for value in image.luminance.aminmax()]
                low, high = steady.update(float(frame.time), *extremes)
                luminance = ((image.luminance - low) / max(high - low, 1e-12)).clamp(0, 1)
                image = finished(luminance, image.scene, replace(self._options, stretch="none"))
            if origin is None:
                live = self._opened[self._reference].live
                origin = frame.pts if live or frame.pts < 0 else 0
            video.write(image, frame.pts - origin, frame.duration)
            progress.step()

    def _fuse(self, numbered: tuple[int, PairedFrames]) -> _FusedFrame:
        number, pairing = numbered
        sources = self._sources(number, pairing, align=False)
        if self._tile is not None:
            tiled = fuse_in_tiles(self._runner, sources.pairs[0], sources, self._tile)
            return _FusedFrame(pairing.reference, tiled.whole())
        scene = self._move(preprocess(sources.pairs[0], sources))
        luminance = fused_luminance(self._runner, scene)
        if self._options.stretch == "none":
            return _FusedFrame(pairing.reference, finished(luminance, scene, self._options))
        return _FusedFrame(pairing.reference, _Unfinished(luminance, scene))

    def _sources(self, number: int, pairing: PairedFrames, *, align: bool) -> OpenedSources:
        images = {modality: frame.pixels for modality, frame in pairing.frames.items()}
        pair = pair_images(images, name=f"{number:06d}", resample=True)
        return OpenedSources([pair], replace(self._options, align=align), self._windows)

    def _measure_shift(self, pairs: Iterator[PairedFrames]) -> Iterable[PairedFrames]:
        """Find one shift for the whole video from its first frames; return all frames."""
        first: list[PairedFrames] = []
        size = 0
        for pairing in islice(pairs, _ALIGNED_ON):
            first.append(pairing)
            size += sum(frame.pixels.nbytes for frame in pairing.frames.values())
            if size > _ALIGNED_BYTES:
                break
        opened = [self._sources(0, pairing, align=True) for pairing in first[::2]]
        found = [preprocess(sources.pairs[0], sources).shifts for sources in opened]
        for modality in found[0] if found else ():
            sure = [shift for shifts in found if (shift := shifts[modality]) is not None]
            if 2 * len(sure) <= len(found):
                logger.info(f"{modality}: not moved, because no reliable shift was found")
                continue
            shift = median(y for y, _ in sure), median(x for _, x in sure)
            self._shifts = {**self._shifts, modality: shift}
            logger.info(
                f"{modality}: all frames moved by {shift[0]:.1f} rows and {shift[1]:.1f} columns"
            )
        return chain(first, pairs)

    def _move(self, scene: PreprocessedPair) -> PreprocessedPair:
        scene = replace(scene, shifts=self._shifts)
        if not scene.moved:
            return scene
        images = dict(scene.sample.images)
        for modality in scene.moved:
            images[modality] = translate(images[modality], *(self._shifts[modality] or (0, 0)))
        return replace(scene, sample=replace(scene.sample, images=images))

    def _begins(self) -> dict[str, Fraction]:
        """Return when each live source began; all files begin with the first of them."""
        live = {name: source.started for name, source in self._opened.items() if source.live}
        first = min(live.values(), default=0.0)
        return {name: Fraction(started - first) for name, started in live.items()}

    def _estimate_total(self) -> int | None:
        rate = self._opened[self._reference].rate
        totals = [
            source.total * rate / source.rate
            for source in self._opened.values()
            if source.total is not None
        ]
        return round(min(totals)) if totals else None

    def _log(self, report: VideoReport, pairs: FramePairs, lost: Mapping[str, int]) -> None:
        for modality, count in lost.items():
            if count:
                logger.warning(
                    f"{modality}: {many(count, 'frame')} lost, because they came faster than they "
                    f"were fused"
                )
        for modality in report.reused:
            again, unused = report.reused[modality], report.dropped[modality]
            if again or unused:
                logger.info(
                    f"{modality}: {many(again, 'frame')} shown again and {unused:,} left out, "
                    f"because its frames have other times than those of {self._reference}"
                )
        if not self._interrupted and len(pairs.ended) < len(self._opened):
            others = [name for name in self._opened if name not in pairs.ended]
            logger.info(
                f"the video ends with {' and '.join(pairs.ended)}; "
                f"{' and '.join(others)} {'goes' if len(others) == 1 else 'go'} on"
            )
        for problem in report.problems:
            logger.warning(problem)
        rate = float(self._opened[self._reference].rate)
        speed = report.frames / report.seconds if report.seconds else 0.0
        logger.info(
            f"{'interrupted: ' if report.interrupted else ''}{many(report.frames, 'frame')} in "
            f"{report.path} in {report.seconds:.1f} s: {speed:.2f} frames/s "
            f"(real time: {rate:.4g} frames/s)"
        )


@contextmanager
def _stopping_by_signal(stop: Callable[[], None]) -> Iterator[None]:
    """Call ``stop`` at the first SIGINT or SIGTERM; a second one interrupts at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        stop()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
