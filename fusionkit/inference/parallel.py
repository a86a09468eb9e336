"""Runs work on many items in threads, with a bounded number of items under way."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

import torch

__all__ = ["Turns", "cores", "in_parallel"]

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
