"""Frames with their time stamps, and what every source of frames offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusionkit.io.images import OpenedImage, open_image

__all__ = ["Frame", "FrameSource", "Pixels", "thin"]

Pixels = NDArray[Any]
"""(h, w) or (h, w, 3)."""


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
