"""Progress of long work: one small protocol, a bar for people, and silence for libraries.

Functions that take long accept ``progress: Progress = SilentProgress()``, announce the number of
steps once it is known, and report each finished step. They neither know nor ask who watches.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress

__all__ = ["Progress", "ProgressBar", "SilentProgress"]


class Progress(Protocol):
    """Receives the progress of a task that has several steps."""

    def expect(self, total: int) -> None:
        """Receive the total number of steps, including those that are done."""
        ...

    def step(self, values: Mapping[str, float] | None = None) -> None:
        """Receive one finished step.

        Args:
            values: Numbers to show beside the count, such as the loss.
        """
        ...


class SilentProgress:
    """Ignores all progress; the default wherever a function accepts a ``Progress``.

    Example:
        >>> SilentProgress().step({"loss": 0.5})
    """

    def expect(self, total: int) -> None:
        """Ignore the number of steps."""

    def step(self, values: Mapping[str, float] | None = None) -> None:
        """Ignore the step."""


class ProgressBar:
    """Shows progress on standard error: count, numbers, elapsed and remaining time.

    On a terminal it is a live bar. Elsewhere, in a log file for instance, it prints a line every
    20 seconds and one at the end. Use it as a context manager, so that the bar is removed on
    errors too.

    Args:
        title: Short description of the task.
        total: Number of steps; None if ``expect`` will tell it later.
        done: Steps that an interrupted run has done before.
        visible: Whether to show anything; False in all processes but the first.

    Example:
        >>> with ProgressBar("fusing", total=2, visible=False) as bar:
        ...     for loss in (0.5, 0.25):
        ...         bar.step({"loss": loss})
    """

    def __init__(self, title: str, total: int | None = None, done: int = 0, visible: bool = True):
        self._title, self._total, self._done = title, total, done
        self._console = Console(stderr=True)
        self._live = visible and self._console.is_terminal
        self._logs = visible and not self._live
        self._started = self._last_line = time.monotonic()
        self._done_before = done
        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[numbers]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._live,
        )
        self._task = self._bar.add_task(title, total=total, completed=done, numbers="")

    def __enter__(self) -> Self:
        if self._live:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live:  # elsewhere rich before 15 prints an empty line
            self._bar.stop()

    def expect(self, total: int) -> None:
        """Set the total number of steps, including those that are done."""
        self._total = total
        self._bar.update(self._task, total=total)

    def step(self, values: Mapping[str, float] | None = None) -> None:
        """Count one finished step and show its values."""
        self._done += 1
        numbers = "  ".join(f"{key} {value:.4f}" for key, value in (values or {}).items())
        self._bar.update(self._task, completed=self._done, numbers=numbers)
        now = time.monotonic()
        if self._logs and (self._done == self._total or now - self._last_line > 20):
            self._last_line = now
            self._console.print(self._line(numbers, now), highlight=False, soft_wrap=True)

    def _line(self, numbers: str, now: float) -> str:
        elapsed = now - self._started
        if self._total is None:
            return f"  {self._title} {self._done}  {numbers}  {elapsed:.0f} s"
        left = elapsed / (self._done - self._done_before) * (self._total - self._done)
        return (
            f"  {self._title} {self._done}/{self._total}  {numbers}  "
            f"{elapsed:.0f} s, {left:.0f} s left"
        )
