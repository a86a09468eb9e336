"""A progress bar with the loss and the time left; plain lines where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

__all__ = ["ProgressBar"]


class ProgressBar:
    """Shows how far something is; a context manager.

    Args:
        title: What is being done.
        total: Steps in all.
        done: Steps done before, by an interrupted run.
        visible: False on all processes but the first.
    """

    def __init__(self, title: str, total: int, done: int = 0, visible: bool = True):
        console = Console(stderr=True)
        self._title, self._total, self._done = title, total, done
        self._visible = visible
        self._live = visible and console.is_terminal
        self._started = self._said = time.monotonic()
        self._first = done
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[numbers]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not self._live,
        )
        self._console = console
        self._task = self._bar.add_task(title, total=total, completed=done, numbers="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def step(self, values: Mapping[str, float] | None = None) -> None:
        """Count one step and show its numbers."""
        self._done += 1
        numbers = "  ".join(f"{key} {value:.4f}" for key, value in (values or {}).items())
        if self._live:
            self._bar.update(self._task, completed=self._done, numbers=numbers)
        elif self._visible:
            now = time.monotonic()
            last = self._done == self._total
            # A log file wants a line now and then, not one per step.
            if last or now - self._said > 20:
                self._said = now
                rate = (now - self._started) / max(1, self._done - self._first)
                left = rate * (self._total - self._done)
                self._console.print(
                    f"  {self._title} {self._done}/{self._total}  {numbers}  "
                    f"{now - self._started:.0f} s, {left:.0f} s left",
                    highlight=False,
                    soft_wrap=True,
                )
