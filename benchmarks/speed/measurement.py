"""Rows of the speed table, and how their numbers are taken."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

__all__ = ["Row", "Size", "peak_memory", "time_in_turn"]

Key = TypeVar("Key")
Size = Literal["small", "full"]
"""``small`` takes seconds and shows that a measurement works; ``full`` gives the figures."""


@dataclass(frozen=True)
class Row:
    """One line of the table: what we need for a piece of work, and what a peer needs.

    Args:
        what: The piece of work, with its size.
        ours: Our number.
        unit: Unit of both numbers, such as ``ms``, ``GFLOP/s`` or ``MB``.
        peer: What we compare with; empty if the number stands alone.
        theirs: The peer's number from the same run.
        more_is_better: True for rates such as GFLOP/s, False for times and memory.
    """

    what: str
    ours: float
    unit: str
    peer: str = ""
    theirs: float | None = None
    more_is_better: bool = False

    @property
    def ratio(self) -> float | None:
        """How many times better we are than the peer; below 1 the peer is better."""
        if self.theirs is None:
            return None
        return self.ours / self.theirs if self.more_is_better else self.theirs / self.ours

    def cells(self) -> tuple[str, str, str, str]:
        """Return the texts of the four columns."""
        peer = "" if self.theirs is None else f"{self.peer}: {self.theirs:.3g} {self.unit}"
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        return self.what, f"{self.ours:.3g} {self.unit}", peer, ratio


def time_in_turn(
    functions: Mapping[Key, Callable[[], object]], rounds: int = 5
) -> dict[Key, float]:
    """Return the median time of each function in seconds; they take turns.

    The first call of each is a warm-up and does not count. Turns keep the ratios fair on a machine
    with other work, and a single disturbed call does not change the median.
    """
    found: dict[Key, list[float]] = {name: [] for name in functions}
    for function in functions.values():
        function()
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            found[name].append(time.perf_counter() - start)
    return {name: statistics.median(seconds) for name, seconds in found.items()}


def peak_memory(code: str) -> float:
    """Return the peak memory of a fresh Python process that runs the code, in MB (10^6 bytes).

    Linux only. ``ru_maxrss`` would count the process that starts it as well.
    """
    measure = "\nprint(next(x for x in open('/proc/self/status') if x.startswith('VmHWM')))"
    found = subprocess.run(
        [sys.executable, "-c", code + measure], check=True, capture_output=True, text=True
    )
    return int(found.stdout.split()[-2]) * 1024 / 1e6
