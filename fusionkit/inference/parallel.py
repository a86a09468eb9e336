"""Runs work on many items in threads, with a bounded number of items under way."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import islice
from typing import Generic, TypeVar

import torch

__all__ = ["ReadAhead", "Turns", "cores", "in_order", "in_parallel"]

_POLL = 0.2
"""Seconds after which a waiting thread looks whether it was stopped."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def cores() -> int:
    """Return the number of cores that this process may use.

    Example:
        >>> cores() >= 1
        True
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_parallel(
    work: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Iterator[tuple[int, Result]]:
    """Yield (index, result) for each item, in the order in which they are finished.

    At most two items per worker are under way or wait to be yielded, so memory stays bounded
    whatever the number of items. Decoding, arithmetic and compression leave Python's global lock,
    so threads use all cores. If the caller stops, or ``work`` raises, what is under way is
    finished, and nothing else is begun.

    Args:
        work: Called in a thread, on each item. An error of it is raised here.
        items: What to work on; taken one by one.
        workers: Number of threads.

    Example:
        >>> sorted(in_parallel(abs, [-3, -1, 2], workers=2))
        [(0, 3), (1, 1), (2, 2)]
    """
    queue = enumerate(items)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="fusionkit")
    under_way: dict[Future[Result], int] = {}
    try:
        while True:
            for index, item in islice(queue, 2 * workers - len(under_way)):
                under_way[pool.submit(work, item)] = index
            if not under_way:
                return
            for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                yield under_way.pop(future), future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Iterator[Result]:
    """Yield the result for each item, in the order of the items; else as ``in_parallel``.

    Args:
        work: Called in a thread, on each item. An error of it is raised here.
        items: What to work on; taken one by one.
        workers: Number of threads.

    Example:
        >>> list(in_order(abs, [-3, -1, 2], workers=2))
        [3, 1, 2]
    """
    queue = iter(items)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="fusionkit")
    under_way: deque[Future[Result]] = deque()
    try:
        while True:
            for item in islice(queue, 2 * workers - len(under_way)):
                under_way.append(pool.submit(work, item))
            if not under_way:
                return
            yield under_way.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class ReadAhead(Generic[Item]):
    """Takes items from an iterator in a thread, some ahead of who needs them.

    Args:
        items: What to take; an error of it is raised by ``next``.
        size: Number of items that may wait.
        drop: Whether the oldest item is dropped if too many wait. By default the thread waits.

    Attributes:
        dropped: Number of items that were dropped.

    Example:
        >>> list(ReadAhead([1, 2, 3], size=2))
        [1, 2, 3]
    """

    def __init__(self, items: Iterable[Item], size: int, *, drop: bool = False):
        self._items, self._size, self._drop = items, size, drop
        self._waiting: deque[Item] = deque()
        self._change = threading.Condition()
        self._ended = self._stopped = False
        self._error: BaseException | None = None
        self.dropped = 0
        self._thread = threading.Thread(target=self._take, name="fusionkit-read", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        with self._change:
            while not (self._waiting or self._ended or self._stopped):
                self._change.wait(_POLL)
            if self._stopped or not self._waiting:
                if self._error is not None and not self._stopped:
                    raise self._error
                raise StopIteration
            item = self._waiting.popleft()
            self._change.notify_all()
            return item

    def stop(self) -> None:
        """Take no further items, and end the iteration; who waits for an item stops waiting."""
        # A signal handler may call this while its own thread holds the lock, so it takes none.
        self._stopped = True

    def join(self, seconds: float) -> bool:
        """Stop, wait for the thread, and return whether it has ended."""
        self._stopped = True
        with self._change:
            self._change.notify_all()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _take(self) -> None:
        try:
            for item in self._items:
                with self._change:
                    if self._drop and len(self._waiting) >= self._size:
                        self._waiting.popleft()
                        self.dropped += 1
                    while len(self._waiting) >= self._size and not self._stopped:
                        self._change.wait(_POLL)
                    if self._stopped:
                        return
                    self._waiting.append(item)
                    self._change.notify_all()
        except BaseException as error:
            self._error = error
        finally:
            with self._change:
                self._ended = True
                self._change.notify_all()


class Turns:
    """Shares the processor between the threads that want to compute.

    Small images are computed side by side, each on one core, which keeps all cores busier than
    sharing one image among them. A large image gets all cores, alone, so that memory is bounded by
    one large image. ``OMP_NUM_THREADS`` limits the cores.

    Example:
        >>> turns, threads = Turns(), torch.get_num_threads()
        >>> with turns.take(alone=True):
        ...     torch.get_num_threads() == threads
        True
    """

    def __init__(self) -> None:
        self._all = torch.get_num_threads()
        self._free = threading.Semaphore(self._all)
        self._gate = threading.Lock()

    @contextmanager
    def take(self, *, alone: bool) -> Iterator[None]:
        """Wait for a turn, and compute inside the ``with`` block.

        Args:
            alone: Compute while no other thread does, on all cores.
        """
        share = self._all if alone else 1
        before = torch.get_num_threads()
        with self._gate:  # so that two large images don't each wait for what the other holds
            for _ in range(share):
                self._free.acquire()
        try:
            # With OpenMP the number of threads is a setting of the calling thread.
            torch.set_num_threads(share)
            yield
        finally:
            torch.set_num_threads(before)
            self._free.release(share)
