"""Works on many items on the nodes of a Ray cluster; workers and nodes may die."""

from __future__ import annotations

import hashlib
import logging
import math
import os
import shutil
import socket
import sys
import tempfile
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import torch

from fusionkit.errors import FusionkitError
from fusionkit.inference.engines import Job
from fusionkit.inference.parallel import cores
from fusionkit.io.listing import many

__all__ = ["RayEngine"]

logger = logging.getLogger("fusionkit")

_TASK_SECONDS = 0.2
"""Items are sent in groups that take about as long, so that Ray's time per task matters little."""
_LARGEST_TASK = 32
_TRIES = 3
"""How often an item is tried whose worker dies."""
_FAILED_STARTS = 3
"""Workers that fail to start, one after another, before no more are started."""
_MOST_CORES = 8
"""Most cores that a worker with a GPU takes for reading and writing."""
_STORE = 100 << 20
"""Bytes of shared memory of a cluster on this machine; it holds the job alone."""
_PATIENCE = 10.0
"""Most seconds until a worker sees a new file on a network file system."""
_GOODBYE = 60.0
"""Most seconds to wait for what is under way when the caller stops."""
_REMINDER = 30.0
"""Seconds between two messages that no worker is there."""

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class _Origin:
    """What a worker needs in order to find the same files and plugins as the command.

    Attributes:
        version: Version of fusionkit.
        folder: The working directory.
        environment: Variables of fusionkit.
        search: Where Python looks for modules.
        shared: Paths that a worker must see, with a fingerprint of each.
    """

    version: str
    folder: Path
    environment: dict[str, str]
    search: tuple[str, ...]
    shared: tuple[tuple[Path, str], ...]

    @classmethod
    def here(cls, shared: Sequence[Path]) -> Self:
        variables = {k: v for k, v in os.environ.items() if k.startswith("FUSIONKIT_")}
        prints = ((path, _fingerprint(path)) for path in shared)
        return cls(
            version("fusionkit-mmif"),
            Path.cwd(),
            variables,
            tuple(path for path in sys.path if path),
            tuple((path, found) for path, found in prints if found is not None),
        )

    def settle(self) -> None:
        """Make a worker find what the command finds."""
        host = socket.gethostname()
        if version("fusionkit-mmif") != self.version:
            raise FusionkitError(
                f"expected fusionkit {self.version} on every node, found "
                f"{version('fusionkit-mmif')} on {host}; install the same version there"
            )
        os.environ.update(self.environment)
        sys.path += [path for path in self.search if path not in sys.path]
        with suppress(OSError):  # absolute paths don't need it
            os.chdir(self.folder)
        for path, expected in self.shared:
            deadline = time.monotonic() + _PATIENCE
            while _fingerprint(path) != expected:
                if time.monotonic() > deadline:
                    raise FusionkitError(
                        f"the node {host} does not see {path} as this machine does; all nodes need "
                        f"the same folders under the same paths, such as a network file system"
                    )
                time.sleep(0.2)


def _fingerprint(path: Path) -> str | None:
    """Return what tells a file from another, or None if it can't be read."""
    try:
        if path.is_dir():
            return "folder"
        with path.open("rb") as file:
            return f"{path.stat().st_size} {hashlib.sha256(file.read(4096)).hexdigest()}"
    except OSError:
        return None


@dataclass(frozen=True)
class _Raised:
    """An error of the job, which travels as a value: Ray would change its type and its text."""

    error: Exception


class _Worker:
    """Runs in a process of its own on some node; prepares the job once."""

    def __init__(self, threads: int):
        self._threads = threads
        self._work: Callable[[Any], Any] | None = None

    def prepare(self, origin: _Origin, job: bytes) -> str | _Raised:
        """Return the name of the node, or what was wrong."""
        from ray import cloudpickle

        try:
            origin.settle()
            self._work = cloudpickle.loads(job)(self._threads)
        except Exception as error:
            return _raised(error)
        return socket.gethostname()

    def work(self, items: Sequence[Any]) -> tuple[list[Any], float]:
        """Return a result or an error for each item, and the seconds that they took together."""
        assert self._work is not None
        started, results = time.perf_counter(), []
        for item in items:
            try:
                results.append(self._work(item))
            except Exception as error:
                results.append(_raised(error))
        return results, time.perf_counter() - started


def _raised(error: Exception) -> _Raised:
    if not isinstance(error, FusionkitError):
        error.add_note(f"on the node {socket.gethostname()}:\n{traceback.format_exc()}")
    return _Raised(error)


class RayEngine:
    """Works on the nodes of a Ray cluster; used as a context manager.

    Each worker is a process with one core or one GPU, and prepares the job once. The cluster is
    the one that the environment variable ``RAY_ADDRESS`` names, or one of this machine alone that
    lasts as long as the ``with`` block. What a worker had under way when it died is done again by
    others.

    Args:
        device: ``auto`` (GPUs if the cluster has some), ``cpu`` or ``cuda``.
        workers: Number of workers; by default one for each GPU, or for each core without GPUs.
            More than there is room for start when nodes join the cluster.

    Attributes:
        device: The device that the job computes on, in each worker.

    Raises:
        FusionkitError: if Ray is missing, the cluster can't be reached, or it has no GPU for
            ``cuda``.

    Example:
        >>> def job(threads):
        ...     return abs
        >>> with RayEngine(workers=2) as engine:  # doctest: +SKIP
        ...     sorted(engine.run(job, [-3, -1, 2]))
        [(0, 3), (1, 1), (2, 2)]
    """

    def __init__(self, device: str = "auto", workers: int | None = None):
        if device not in ("auto", "cpu", "cuda"):
            raise FusionkitError(
                f"device: expected auto, cpu or cuda with Ray, which chooses the GPU of each "
                f"worker; found {device!r}"
            )
        if workers is not None and workers < 1:
            raise FusionkitError(f"workers: expected 1 or more, found {workers}")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            import ray
        except ImportError:
            raise FusionkitError(
                'the engine "ray" needs Ray: run: pip install "fusionkit-mmif[cluster]"'
            ) from None
        self._ray: Any = ray
        self._wanted, self._workers = device, workers
        self._folder: Path | None = None
        self._connected = False
        self.device = torch.device("cpu")

    def __enter__(self) -> Self:
        if not self._ray.is_initialized():
            self._connect()
        try:
            self._choose_device()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._connected:
            self._ray.shutdown()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def run(
        self,
        job: Job[Item, Result],
        items: Iterable[Item],
        *,
        shared: Sequence[Path] = (),
        lost: Callable[[Item, str], Result] | None = None,
    ) -> Generator[tuple[int, Result], None, None]:
        """Yield (index, result) for each item; see ``Engine``."""
        threads = 2 if self.device.type == "cpu" else max(2, self._cores)
        gpus = 0 if self.device.type == "cpu" else 1
        actor = self._ray.remote(_Worker).options(
            num_cpus=self._cores, num_gpus=gpus, max_concurrency=threads, max_restarts=0
        )
        origin = self._ray.put(_Origin.here(shared))
        packed = self._ray.put(self._ray.cloudpickle.dumps(job))
        pool = _Pool(
            self._ray, lambda: _Place(actor.remote(threads)), (origin, packed), 2 * threads
        )
        # No more workers than items: the others would start for nothing.
        queue = iter(items)
        ahead = list(islice(queue, self._count))
        if not ahead:
            return
        pool.start(len(ahead))
        logger.info(f"Ray: {many(len(ahead), 'worker')}, {self._each()}")
        yield from pool.run(_chained(ahead, queue), lost)

    def _each(self) -> str:
        share = many(self._cores, "core")
        return f"each with {share}" + (" and a GPU" if self.device.type == "cuda" else "")

    def _connect(self) -> None:
        address = os.environ.get("RAY_ADDRESS")
        quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
        try:
            if address:
                self._ray.init(address=address, **quiet)
            else:
                # Short, because the paths of sockets below it may have 107 bytes at most.
                self._folder = Path(tempfile.mkdtemp(prefix="fk-ray-"))
                self._ray.init(
                    address="local",
                    num_cpus=max(cores(), self._workers or 1),
                    include_dashboard=False,
                    object_store_memory=_STORE,
                    _node_ip_address="127.0.0.1",
                    _temp_dir=str(self._folder),
                    **quiet,
                )
        except Exception as error:  # Ray raises errors of many kinds
            self.__exit__(None, None, None)
            where = f"the cluster at RAY_ADDRESS={address}" if address else "a cluster"
            raise FusionkitError(
                f"Ray can't reach or start {where}: {_first_line(error)}; "
                f"check `ray status` and RAY_ADDRESS"
            ) from None
        self._connected = True

    def _choose_device(self) -> None:
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        with_gpu = [node for node in nodes if node.get("GPU", 0) >= 1]
        if self._wanted == "cuda" and not with_gpu:
            raise FusionkitError("device: the Ray cluster has no GPU; use auto or cpu")
        if with_gpu and self._wanted != "cpu":
            self.device = torch.device("cuda")
            room = min(node.get("CPU", 1) // node["GPU"] for node in with_gpu)
            self._cores = int(max(1, min(_MOST_CORES, room)))
            there = sum(int(node["GPU"]) for node in with_gpu)
        else:
            self._cores = 1
            there = sum(int(node.get("CPU", 0)) for node in nodes)
        self._count = self._workers or max(1, there)


def _chained(ahead: Sequence[Item], rest: Iterator[Item]) -> Iterator[Item]:
    yield from ahead
    yield from rest


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


@dataclass(eq=False)
class _Place(Generic[Item]):
    """A worker as the command sees it.

    Attributes:
        actor: Ray's handle.
        host: Its node; None before it is ready.
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
    place: _Place[Item]
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


class _Pool(Generic[Item]):
    """The workers of one call, and what they have under way.

    Args:
        ray: The module.
        make: Starts a worker.
        preparation: References to what each worker gets first.
        most: Most tasks that a worker has at a time, so that the rest can still go to others.
    """

    def __init__(
        self, ray: Any, make: Callable[[], _Place[Item]], preparation: tuple[Any, Any], most: int
    ):
        self._ray, self._make, self._preparation, self._most = ray, make, preparation, most
        self._starting: dict[Any, _Place[Item]] = {}
        self._ready: list[_Place[Item]] = []
        self._tasks: dict[Any, _Task[Item]] = {}
        self._again: deque[tuple[int, Item, int]] = deque()
        self._failed_starts = 0
        self._told = time.monotonic()
        self._pace = _Pace()

    def start(self, count: int) -> None:
        """Start workers."""
        for _ in range(count):
            place = self._make()
            self._starting[place.actor.prepare.remote(*self._preparation)] = place

    def run(
        self, items: Iterator[Item], lost: Callable[[Item, str], Result] | None
    ) -> Iterator[tuple[int, Result]]:
        """Do all items, and end the workers."""
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
                "`ray status` shows nodes, and it goes on where it stopped"
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
            host = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            self._failed_starts += 1
            if self._failed_starts < _FAILED_STARTS:
                self.start(1)
            elif not self._ready and not self._starting:
                raise FusionkitError(
                    f"no worker of the Ray cluster can start: {_first_line(error)}; fusionkit must "
                    f"be installed on every node"
                ) from None
            return
        if isinstance(host, _Raised):
            raise host.error
        self._failed_starts = 0
        logger.debug("a worker on %s is ready", host)
        place.host = host
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
                reason = f"its worker died {_TRIES} times ({_first_line(error)})"
                if lost is None:
                    raise FusionkitError(f"{item}: {reason}") from None
                yield index, lost(item, reason)
            return
        self._pace.learn(len(results), seconds)
        for (index, _), result in zip(task.items, results, strict=True):
            if isinstance(result, _Raised):
                raise result.error
            yield index, result

    def _bury(self, place: _Place[Item]) -> None:
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
            self._ray.wait(waiting, num_returns=len(waiting), timeout=_GOODBYE, fetch_local=False)
        for place in (*self._ready, *self._starting.values()):
            self._ray.kill(place.actor)
