"""Pairs the frames of several sources by their time stamps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

from fusionkit.io.frames import Frame

__all__ = ["FramePairs", "PairedFrames"]

_SLACK = Fraction(9, 10)
"""A source has ended when this part of the time until its next frame has passed without one. Less
than the whole, because some formats round time stamps."""


@dataclass(frozen=True)
class PairedFrames:
    """Frames of one moment.

    Attributes:
        frames: Modality -> frame, in the order of the sources.
        reference: The frame whose time they have.
    """

    frames: Mapping[str, Frame]
    reference: Frame


class FramePairs:
    """Gives each frame of one source the nearest frame in time of the others; may be run once.

    Time runs from the first frame of each source. Pairing begins when all sources have begun, and
    ends with the shortest of them.

    Args:
        sources: Modality -> frames in the order of time.
        reference: The modality whose frames are all kept.
        begins: Modality -> when it began, in seconds by one clock; by default all begin together.

    Attributes:
        count: Number of the frames of the reference that were paired.
        reused: Modality -> how many frames of the reference got a frame that one before them got.
        dropped: Modality -> how many frames lie between those that were taken.
        ended: The modalities that ended first.

    Example:
        >>> import numpy as np
        >>> def frames(rate, count):
        ...     for i in range(count):
        ...         time = [Fraction(i + k, rate) for k in (0, 1)]
        ...         yield Frame(np.zeros((16, 16), np.uint8), i, 1, *time)
        >>> pairs = FramePairs({"infrared": frames(2, 3), "visible": frames(4, 6)}, "visible")
        >>> [pair.frames["infrared"].pts for pair in pairs]
        [0, 0, 1, 1, 2, 2]
        >>> pairs.reused, pairs.dropped
        ({'infrared': 3}, {'infrared': 0})
    """

    def __init__(
        self,
        sources: Mapping[str, Iterator[Frame]],
        reference: str,
        begins: Mapping[str, Fraction] | None = None,
    ):
        begins = begins or {}
        self._order = tuple(sources)
        self._reference = reference
        self._begin = begins.get(reference, Fraction(0))
        self._frames = sources[reference]
        self._others = {
            name: _Nearest(frames, begins.get(name, Fraction(0)))
            for name, frames in sources.items()
            if name != reference
        }
        self.count = 0
        self.ended: tuple[str, ...] = ()

    @property
    def reused(self) -> dict[str, int]:
        """Modality -> how many frames of the reference got a frame that one before them got."""
        return {name: other.reused for name, other in self._others.items()}

    @property
    def dropped(self) -> dict[str, int]:
        """Modality -> how many frames lie between those that were taken."""
        return {name: other.dropped for name, other in self._others.items()}

    def __iter__(self) -> Iterator[PairedFrames]:
        for reference in self._frames:
            time = self._begin + reference.time
            if any(other.begins_after(time) for other in self._others.values()):
                continue
            found = {name: other.at(time) for name, other in self._others.items()}
            self.ended = tuple(name for name, frame in found.items() if frame is None)
            if self.ended:
                return
            frames = {name: found.get(name) or reference for name in self._order}
            self.count += 1
            yield PairedFrames(frames, reference)
        self.ended = (
            self._reference,
            *(name for name, other in self._others.items() if not other.goes_on()),
        )


class _Nearest:
    """Walks through the frames of a source, and finds the nearest to times that only grow."""

    def __init__(self, frames: Iterator[Frame], begin: Fraction):
        self._frames, self._begin = frames, begin
        self._current: Frame | None = None
        self._next: Frame | None = None
        self._opened = self._taken = False
        self.reused = self.dropped = 0

    def begins_after(self, time: Fraction) -> bool:
        """Return whether the first frame is due only after a time."""
        self._open()
        if self._current is None or self._taken:
            return False
        length = self._current.until - self._current.time
        return self._begin + self._current.time - time >= _SLACK * length

    def at(self, time: Fraction) -> Frame | None:
        """Return the nearest frame; None if the source has ended."""
        self._open()
        time -= self._begin
        while (
            self._current is not None
            and self._next is not None
            and abs(self._next.time - time) < abs(self._current.time - time)
        ):
            self.dropped += not self._taken
            self._current, self._next, self._taken = self._next, next(self._frames, None), False
        current = self._current
        if current is None:
            return None
        length = current.until - current.time
        if self._next is None and time - current.time >= _SLACK * length:
            return None
        self.reused += self._taken
        self._taken = True
        return current

    def goes_on(self) -> bool:
        """Return whether more than one frame follows the current one."""
        return self._next is not None and next(self._frames, None) is not None

    def _open(self) -> None:
        if not self._opened:
            self._opened = True
            self._current = next(self._frames, None)
            self._next = next(self._frames, None)
