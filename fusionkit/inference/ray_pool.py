"""The workers of a Ray cluster: hands them items, and replaces the ones that die."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Generic, TypeVar

from fusionkit.errors import FusionkitError
from fusionkit.inference.ray_worker import Raised, Ready

__all__ = ["Place", "Pool", "first_line"]

logger = logging.getLogger("fusionkit")

_TASK_SECONDS = 0.2
"""Items are sent in groups that take about as long, so that Ray's time per task matters little."""
_LARGEST_TASK = 32
_TRIES = 3
"""How often an item is tried whose worker dies."""
_FAILED_STARTS = 3
"""Workers that fail to start, one after another, before no more are started."""
_GOODBYE = 60.0
"""Most seconds to wait for what is under way when the caller stops."""
_REMINDER = 30.0
"""Seconds between two messages that no worker is there."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def first_line(error: BaseException) -> str:
    r"""Return the first line of an error's message, or its type if it has none.

    Example:
        >>> first_line(ValueError("no node\nTraceback")), first_line(ValueError())
        ('no node', 'ValueError')
    """
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


@dataclass(eq=False)
class Place(Generic[Item]):
    """A worker as the command sees it.

    Attributes:
        actor: Ray's handle.
        host: Its node; None before it is ready for the first time.
        under_way: Number of tasks that it has.
        alone: Whether it does an item that may have killed a worker, and must get no other.
    """

    actor: Any
    host: str | None = None
    under_way: int = 0
    alone: bool = False


@dataclass
class _Task(Generic[Item]):
    """Items that are sent together.

    Attributes:
        items: (index, item).
        place: Who does them.
        tries: How often they were tried before.
    """

    items: list[tuple[int, Item]]
    place: Place[Item]
    tries: int = 0


@dataclass
class _Pace:
    """Chooses how many items are sent together, by the seconds that they take."""

    seconds: float = math.inf
    size: int = field(default=1)

    def learn(self, count: int, seconds: float) -> None:
        each = seconds / count
        self.seconds = each if math.isinf(self.seconds) else 0.9 * self.seconds + 0.1 * each
        self.size = max(1, min(_LARGEST_TASK, int(_TASK_SECONDS / max(self.seconds, 1e-6))))


class Pool(Generic[Item]):
    """The workers of one call, and what they have under way.

    Args:
        ray: The module.
        take: Gives a worker: one of an earlier call, or a new one.
        give_back: Takes the workers that live when the call ends.
        preparation: What each worker gets first; see ``Worker.prepare``.
        most: Most tasks that a worker has at a time, so that the rest can still go to others.

    Example:
        >>> pool = Pool(None, take=lambda: None, give_back=print, preparation=(), most=4)
        >>> pool.start(0)
        >>> list(pool.run(iter([3, 4]), lost=None))  # with workers  # doctest: +SKIP
        [(0, 8), (1, 16)]
    """

    def __init__(
        self,
        ray: Any,
        take: Callable[[], Place[Item]],
        give_back: Callable[[Place[Item]], None],
        preparation: Sequence[Any],
        most: int,
    ):
        self._ray, self._preparation, self._most = ray, preparation, most
        self._take, self._give_back = take, give_back
        self._starting: dict[Any, Place[Item]] = {}
        self._ready: list[Place[Item]] = []
        self._tasks: dict[Any, _Task[Item]] = {}
        self._again: deque[tuple[int, Item, int]] = deque()
        self._failed_starts = 0
        self._warnings: set[str] = set()
        self._told = time.monotonic()
        self._pace = _Pace()

    def start(self, count: int) -> None:
        """Start workers; they get items when they are ready.

        Args:
            count: Number of workers.
        """
        for _ in range(count):
            place = self._take()
            self._starting[place.actor.prepare.remote(*self._preparation)] = place

    def run(
        self, items: Iterator[Item], lost: Callable[[Item, str], Result] | None
    ) -> Iterator[tuple[int, Result]]:
        """Yield (index, result) for each item, and give the workers back.

        Args:
            items: What to work on; taken one by one.
            lost: Returns the result of an item whose workers died; see ``Engine``.

        Raises:
            FusionkitError: if no worker can start or is left, or the workers of an item died and
                ``lost`` is None.
        """
        queue = enumerate(items)
        try:
            while True:
                self._hand_out(queue)
                if not self._tasks and not self._again and self._ready:
                    return
                for reference in self._finished():
                    if reference in self._starting:
                        self._welcome(reference)
                    else:
                        yield from self._results(reference, lost)
        finally:
            self._end()

    def _hand_out(self, queue: Iterator[tuple[int, Item]]) -> None:
        # An item whose worker died is tried alone, since it may have killed it.
        for place in self._ready:
            if self._again and not place.under_way:
                index, item, tries = self._again.popleft()
                place.alone = True
                self._send(_Task([(index, item)], place, tries))
        # The least busy first, so that the last items are spread evenly.
        free = [place for place in self._ready if not place.alone]
        while free:
            place = min(free, key=lambda place: place.under_way)
            if place.under_way >= self._most:
                return
            items = list(islice(queue, self._pace.size))
            if not items:
                return
            self._send(_Task(items, place))

    def _send(self, task: _Task[Item]) -> None:
        reference = task.place.actor.work.remote([item for _, item in task.items])
        task.place.under_way += 1
        self._tasks[reference] = task

    def _finished(self) -> list[Any]:
        waiting = [*self._tasks, *self._starting]
        if not waiting:
            raise FusionkitError(
                "all workers of the Ray cluster are gone; start the command again when "
                "`ray status` shows nodes"
            )
        found, _ = self._ray.wait(waiting, num_returns=1, timeout=1.0, fetch_local=False)
        if not found and not self._ready and time.monotonic() - self._told > _REMINDER:
            self._told = time.monotonic()
            logger.info("waiting for workers: the Ray cluster has no free cores or GPUs, or starts")
        if found:
            found, _ = self._ray.wait(
                waiting, num_returns=len(waiting), timeout=0, fetch_local=False
            )
        return found

    def _welcome(self, reference: Any) -> None:
        place = self._starting.pop(reference)
        try:
            ready: Ready | Raised = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            self._failed_starts += place.host is None  # others died since the call before
            if self._failed_starts < _FAILED_STARTS:
                self.start(1)
            elif not self._ready and not self._starting:
                raise FusionkitError(
                    f"no worker of the Ray cluster can start: {first_line(error)}; fusionkit must "
                    f"be installed on every node"
                ) from None
            return
        if isinstance(ready, Raised):
            raise ready.error
        self._failed_starts = 0
        logger.debug("a worker on %s is ready", ready.host)
        for warning in ready.warnings:
            if warning not in self._warnings:
                self._warnings.add(warning)
                logger.warning("on %s: %s", ready.host, warning)
        place.host = ready.host
        self._ready.append(place)

    def _results(
        self, reference: Any, lost: Callable[[Item, str], Result] | None
    ) -> Iterator[tuple[int, Result]]:
        task = self._tasks.pop(reference)
        place = task.place
        place.under_way -= 1
        place.alone = False
        try:
            results, seconds = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except self._ray.exceptions.RayError as error:
            self._bury(place)
            for index, item in task.items:
                if task.tries + 1 < _TRIES:
                    self._again.append((index, item, task.tries + 1))
                    continue
                reason = f"{_TRIES} workers died while they worked on it: {first_line(error)}"
                if lost is None:
                    raise FusionkitError(f"{item}: {reason}") from None
                yield index, lost(item, reason)
            return
        self._pace.learn(len(results), seconds)
        for (index, _), result in zip(task.items, results, strict=True):
            if isinstance(result, Raised):
                raise result.error
            yield index, result

    def _bury(self, place: Place[Item]) -> None:
        if place not in self._ready:
            return
        self._ready.remove(place)
        logger.warning(
            f"a worker on {place.host} died; what it had under way is done again by others"
        )
        self._ray.kill(place.actor)
        self.start(1)

    def _end(self) -> None:
        """Let the workers finish what is under way, so that no half-written file is left."""
        waiting = list(self._tasks)
        if waiting:
            _, waiting = self._ray.wait(
                waiting, num_returns=len(waiting), timeout=_GOODBYE, fetch_local=False
            )
        busy = [self._tasks[reference].place for reference in waiting]
        for place in (*self._ready, *self._starting.values()):
            if place in busy:
                self._ray.kill(place.actor)
            else:
                self._give_back(Place(place.actor, place.host))
