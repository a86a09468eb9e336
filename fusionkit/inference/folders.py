"""Fuses files, or folders of files: all pairs, whatever happens to some of them."""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

import torch

from fusionkit.errors import FusionkitError, WriteError
from fusionkit.inference.devices import Precision
from fusionkit.inference.engines import Engine, LocalEngine
from fusionkit.inference.failures import FAILURES, Failure, write_failures
from fusionkit.inference.output import OutputFiles, OutputFormat
from fusionkit.inference.pair_fuser import Changes, FusedPair, PairFuser
from fusionkit.inference.records import OWNER, Provenance, Records, network_digest, owned
from fusionkit.inference.runner import NetworkRunner
from fusionkit.inference.sources import FusionOptions
from fusionkit.interfaces import Backbone
from fusionkit.io.listing import Listing, PairFiles, many
from fusionkit.io.pairs import Pair, open_pair
from fusionkit.io.windows import find_windows
from fusionkit.progress import Progress, SilentProgress

__all__ = ["FolderOptions", "FusionReport", "fuse_files"]

logger = logging.getLogger("fusionkit")

_WINDOW_SAMPLE = 256
"""Windows are measured on at most this many pairs, spread evenly over all of them."""


@dataclass(frozen=True)
class FolderOptions:
    """How a folder of pairs is worked through.

    Attributes:
        format: Format of the results.
        overwrite: Fuse all pairs again. By default those are skipped whose result is there, and
            was made of the same files with the same model and options.
        strict: Stop at the first pair that can't be fused, and refuse sources without a partner.
        device: Where the network computes; where it is by default.
        precision: Arithmetic of the network.
        engine: What works on the pairs; threads of this process by default. A single pair is always
            fused in this process.
    """

    format: OutputFormat = field(default_factory=OutputFormat)
    overwrite: bool = False
    strict: bool = False
    device: torch.device | None = None
    precision: Precision = "fp32"
    engine: Engine | None = None


@dataclass(frozen=True)
class FusionReport:
    """What became of the pairs.

    Attributes:
        results: The fused images, in the order of the pairs: those of this call, and those that
            were done before.
        skipped: Number of the results that were done before.
        failures: The pairs that could not be fused; they are in ``failures.csv`` as well.
    """

    results: tuple[Path, ...]
    skipped: int = 0
    failures: tuple[Failure, ...] = ()


def fuse_files(
    model: Backbone,
    listing: Listing,
    out: Path,
    options: FusionOptions | None = None,
    folder_options: FolderOptions | None = None,
    *,
    progress: Progress | None = None,
) -> FusionReport:
    """Fuse the pairs of a listing.

    Reading, fusing and writing of several pairs overlap. A pair that can't be read or does not fit
    is reported at the end and in ``failures.csv``; the others are fused. After an
    interruption, the same call continues with the pairs that are not done.

    Changes to the sources that nobody asked for in so many words are logged, and so is everything
    that was left out. The metadata of the colour source, or of the first source if none has colour,
    is kept: EXIF with time, place and camera, and the colour profile.

    Args:
        model: A backbone.
        listing: The pairs, which ``list_pairs`` or ``read_pair_table`` found.
        out: A folder. For one pair it may be a file, if it ends like an image.
        options: How to fuse each pair.
        folder_options: How to work through them.
        progress: Receives the number of pairs, and a step for each of them.

    Raises:
        FusionkitError: for options that don't fit the sources, or an output that would replace a
            source or is being written by another process. With ``strict``, or for a single pair,
            for a pair that can't be fused.
        WriteError: if a result can't be written, because of a full disk for instance.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> import fusionkit as fk
        >>> from fusionkit.io.images import write_image
        >>> from fusionkit.io.listing import list_pairs
        >>> average = fk.build("backbone", name="average")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     sources = {name: Path(folder, f"{name}.png") for name in ("infrared", "visible")}
        ...     for path in sources.values():
        ...         write_image(path, np.zeros((20, 30), np.uint8))
        ...     report = fuse_files(average, list_pairs(sources), Path(folder, "fused.png"))
        >>> [path.name for path in report.results]
        ['fused.png']
    """
    options, folder_options = options or FusionOptions(), folder_options or FolderOptions()
    pairs = listing.pairs
    for sentence in listing.left_out:
        if folder_options.strict and sentence not in listing.ignored:
            raise FusionkitError(f"{sentence}; rename or remove files, or leave out --strict")
        logger.warning(sentence)
    single = len(pairs) == 1
    output = OutputFiles(out, pairs, folder_options.format, as_file=single)
    windows = _find_windows(pairs, options, strict=single or folder_options.strict)
    output.make_folder()
    strict = single or folder_options.strict
    places = {(out / pair.id).parent for pair in pairs}
    with nullcontext() if output.is_file else owned(out, places):
        records = None
        if not output.is_file:
            settings = {
                "fusionkit": version("fusionkit-mmif"),
                "network": network_digest(model),
                "options": asdict(options),
                "windows": windows,
                "format": asdict(folder_options.format),
                "precision": folder_options.precision,
            }
            records = Records(out, settings)
        job = _FolderJob(
            model,
            folder_options.device,
            folder_options.precision,
            options,
            windows,
            output,
            None if records is None else records.provenance,
            strict,
        )
        engine = folder_options.engine
        if single or engine is None:
            engine = LocalEngine(1 if single else None)
        work = _FolderWork(engine, records, progress or SilentProgress())
        return work.run(job, pairs, out, overwrite=folder_options.overwrite)


def _find_windows(
    pairs: Sequence[PairFiles], options: FusionOptions, *, strict: bool
) -> dict[str, tuple[float, float]]:
    """Measure the windows on some pairs; those that can't be read fail later, one by one."""
    options.check_modalities(pairs[0].paths)
    step = max(1, math.ceil(len(pairs) / _WINDOW_SAMPLE))
    opened: list[Pair] = []
    for files in pairs[::step]:
        try:
            opened.append(open_pair(files, resample=options.resample))
        except FusionkitError:
            if strict:
                raise
    images = {modality: [pair.images[modality] for pair in opened] for modality in pairs[0].paths}
    if not opened:
        return {}
    return find_windows(images, options.windows, skip_damaged=not strict)


@dataclass(frozen=True)
class _Done:
    """A pair that was fused, and the line that records it."""

    fused: FusedPair
    record: str


@dataclass(frozen=True)
class _FolderJob:
    """What fuses pairs in any process; see ``fuse_files`` and ``FolderOptions``."""

    network: Backbone
    device: torch.device | None
    precision: Precision
    options: FusionOptions
    windows: Mapping[str, tuple[float, float]]
    output: OutputFiles
    provenance: Provenance | None
    strict: bool

    def __call__(self, threads: int) -> Callable[[PairFiles], _Done | Failure]:
        runner = NetworkRunner(self.network, self.device, self.precision, callers=threads)
        fuse = PairFuser(runner, self.options, self.windows, self.output)

        def attempt_strictly(files: PairFiles) -> _Done:
            fused = fuse(files)
            line = "" if self.provenance is None else self.provenance.line(files, fused.path)
            return _Done(fused, line)

        def attempt(files: PairFiles) -> _Done | Failure:
            try:
                return attempt_strictly(files)
            except WriteError:
                raise
            except FusionkitError as error:
                reason = str(error)
            except Exception as error:  # one bad pair must not stop the others
                logger.debug("%s could not be fused", files.id, exc_info=True)
                reason = f"{type(error).__name__}: {error}"
            return _failure(files, reason)

        return attempt_strictly if self.strict else attempt


def _failure(files: PairFiles, reason: str) -> Failure:
    return Failure(files.id, tuple(files.paths.values()), reason)


class _FolderWork:
    """Works through pairs, and keeps account of them."""

    def __init__(self, engine: Engine, records: Records | None, progress: Progress):
        self._engine, self._records, self._progress = engine, records, progress

    def run(
        self, job: _FolderJob, pairs: Sequence[PairFiles], out: Path, *, overwrite: bool
    ) -> FusionReport:
        # The suffix of each result. Paths would take 300 bytes each, whatever the size of an image.
        suffixes: list[str | None] = [None] * len(pairs)
        if self._records is not None and not overwrite:
            for index, pair in enumerate(pairs):
                if (path := self._records.result_of(pair)) is not None:
                    suffixes[index] = sys.intern(path.suffix)
        todo = [index for index, suffix in enumerate(suffixes) if suffix is None]
        skipped = len(pairs) - len(todo)
        if skipped:
            logger.info(
                f"{many(skipped, 'pair')} of {len(pairs):,} done before and unchanged: skipped "
                f"(--overwrite fuses them again)"
            )
        self._progress.expect(len(todo))
        failures: dict[int, Failure] = {}
        changes, fused, pixels, started = Changes(), 0, 0, time.perf_counter()
        # Every worker must see the output folder, and the files of the first pair.
        shared = [out / OWNER] if self._records is not None else []
        shared += [path for index in todo[:1] for path in pairs[index].paths.values()]
        outcomes = self._engine.run(
            job,
            (pairs[index] for index in todo),
            shared=shared,
            lost=None if job.strict else _failure,
        )
        try:
            with closing(outcomes):  # an error here must not leave workers writing
                for place, outcome in outcomes:
                    index = todo[place]
                    if isinstance(outcome, Failure):
                        failures[index] = outcome
                    else:
                        if self._records is not None:
                            self._records.append(outcome.record)
                        suffixes[index] = sys.intern(outcome.fused.path.suffix)
                        fused += 1
                        changes.count(outcome.fused)
                        pixels += math.prod(outcome.fused.size)
                    self._progress.step()
        finally:
            seconds = time.perf_counter() - started
            ordered = [failures[index] for index in sorted(failures)]
            if self._records is not None:
                write_failures(out, ordered)
            changes.log()
            if todo:
                self._log_summary(fused, pixels, seconds, out)
        for failure in ordered[:10]:
            logger.warning(f"{failure.id} was not fused: {failure.reason}")
        if ordered:
            logger.warning(f"{many(len(ordered), 'pair')} not fused; all are in {out / FAILURES}")
        results = tuple(
            job.output.path(pair, suffix)
            for pair, suffix in zip(pairs, suffixes, strict=True)
            if suffix is not None
        )
        return FusionReport(results, skipped, tuple(ordered))

    @staticmethod
    def _log_summary(count: int, pixels: int, seconds: float, out: Path) -> None:
        speed = ""
        if count > 1 and seconds > 0:
            speed = (
                f" in {seconds:.1f} s: {count / seconds:.2f} images/s, "
                f"{pixels / 1e6 / seconds:.2f} megapixels/s"
            )
        logger.info(f"{many(count, 'fused image')} in {out}{speed}")
