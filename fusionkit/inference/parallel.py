"""Works on many items in threads or processes, with a bounded number of items under way."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import islice
from typing import Any, Generic, TypeVar, cast

import torch

from fusionkit.errors import FusionkitError

__all__ = ["ReadAhead", "Turns", "cores", "in_order", "in_parallel", "in_processes"]

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


def in_processes(
    work: Callable[[Item], Result], items: Sequence[Item], workers: int, *, at_once: int = 1
) -> Iterator[Result]:
    """Yield the result for each item, in the order of the items, made by other processes.

    It is for work of many small steps in Python, which threads can't share. The processes are
    copies of this one (fork), so neither ``work`` nor the items are sent, only the results; arrays
    of numpy are best. Each works on one thread. They start with the call, send at most eight times
    before the caller takes what they sent, and end with the iterator, or when this process dies.
    Where processes can't be copied safely (macOS, Windows), this process does the work.

    Args:
        work: Called on each item. Its result depends on the item only.
        items: What to work on.
        workers: Number of processes; 0 for this one.
        at_once: Number of results that are sent together; sending takes about 0.2 ms.

    Raises:
        FusionkitError: that of ``work``, or if a process was killed.

    Example:
        >>> list(in_processes(abs, [-3, -1, 2], workers=0))
        [3, 1, 2]
    """
    if workers == 0 or sys.platform != "linux":
        return map(work, items)
    from torch.utils.data import DataLoader  # takes a while to import

    parent = os.getpid()

    def start(number: int) -> None:
        _die_with(parent)

    loader = DataLoader(
        cast("Any", _Answers(work, items, at_once)),
        batch_size=None,
        num_workers=workers,
        collate_fn=_same,
        worker_init_fn=start,
        multiprocessing_context="fork",
        prefetch_factor=8,
        generator=torch.Generator(),  # else it would draw from the global one
    )
    with warnings.catch_warnings():
        # Python 3.12 warns of any fork beside threads; these processes start no thread pool.
        warnings.simplefilter("ignore", DeprecationWarning)
        answers = iter(loader)
    return _unpacked(answers)


class _Answers(Generic[Item, Result]):
    """What work makes of some items, or the error that is the user's to mend."""

    def __init__(self, work: Callable[[Item], Result], items: Sequence[Item], at_once: int) -> None:
        self._work, self._items, self._at_once = work, items, at_once

    def __len__(self) -> int:
        return -(-len(self._items) // self._at_once)

    def __getitem__(self, index: int) -> list[Result | FusionkitError]:
        answers: list[Result | FusionkitError] = []
        for item in self._items[index * self._at_once : (index + 1) * self._at_once]:
            try:
                answers.append(self._work(item))
            except FusionkitError as error:
                answers.append(error)
        return answers


def _unpacked(answers: Iterator[list[Result | FusionkitError]]) -> Iterator[Result]:
    while True:
        try:
            found = next(answers)
        except StopIteration:
            return
        except RuntimeError as error:
            if "exited unexpectedly" not in str(error):
                raise
            raise FusionkitError(
                "a process that reads data was killed, for want of memory perhaps; close other "
                "programs, and start the same command again"
            ) from error
        for answer in found:
            if isinstance(answer, FusionkitError):
                raise answer
            yield answer


def _same(item: Item) -> Item:
    return item


def _die_with(parent: int) -> None:
    """End this process at once when its parent dies; PyTorch looks every five seconds only."""
    set_signal_of_death = 1
    ctypes.CDLL(None).prctl(set_signal_of_death, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


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
