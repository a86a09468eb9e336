"""Works on many items on the nodes of a Ray cluster; workers and nodes may die."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterable, Sequence
from itertools import chain, islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import torch

from fusionkit.errors import FusionkitError
from fusionkit.inference.engines import Job
from fusionkit.inference.parallel import cores
from fusionkit.inference.ray_pool import Place, Pool, first_line
from fusionkit.inference.ray_worker import Origin, Worker
from fusionkit.io.listing import many

__all__ = ["RayEngine"]

logger = logging.getLogger("fusionkit")

_MOST_CORES = 8
"""Most cores that a worker with a GPU takes for reading and writing."""
_STORE = 100 << 20
"""Bytes of shared memory of a cluster on this machine; it holds the job alone."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class RayEngine:
    """Works on the nodes of a Ray cluster; used as a context manager.

    Each worker is a process with one core or one GPU. It prepares a job once, and waits for the
    next call of ``run`` until the ``with`` block ends. The cluster is the one that the environment
    variable ``RAY_ADDRESS`` names, or one of this machine alone that lasts as long as the ``with``
    block. What a worker had under way when it died is done again by others.

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
        self._idle: list[Place[Any]] = []
        self._calls = 0
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
        while self._idle:
            self._ray.kill(self._idle.pop().actor)
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
        actor = self._ray.remote(Worker).options(
            num_cpus=self._cores, num_gpus=gpus, max_concurrency=threads, max_restarts=0
        )

        def take() -> Place[Item]:
            return self._idle.pop(0) if self._idle else Place(actor.remote(threads))

        self._calls += 1
        origin, packed = self._ray.put(Origin.here(shared)), self._ray.put(self._pack(job))
        preparation = (self._calls, origin, packed)
        pool = Pool(self._ray, take, self._idle.append, preparation, 2 * threads)
        # No more workers than items: the others would start for nothing.
        queue = iter(items)
        ahead = list(islice(queue, self._count))
        if not ahead:
            return
        pool.start(len(ahead))
        level = logging.INFO if self._calls == 1 else logging.DEBUG  # a benchmark has many jobs
        logger.log(level, f"Ray: {many(len(ahead), 'worker')}, {self._each()}")
        yield from pool.run(chain(ahead, queue), lost)

    def _pack(self, job: Job[Any, Any]) -> bytes:
        try:
            return self._ray.cloudpickle.dumps(job)
        except Exception as error:  # of any component that the job holds
            raise FusionkitError(
                f"the work can't be sent to other processes: {first_line(error)}; leave out "
                f"--engine ray, or make the component picklable"
            ) from error

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
                f"Ray can't reach or start {where}: {first_line(error)}; "
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
