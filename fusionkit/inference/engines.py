"""Engines: what works on many items, in threads of this process or on the nodes of a cluster."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from fusionkit.inference.parallel import cores, in_parallel
from fusionkit.io.atomic_write import TEMPORARY, write_text

__all__ = ["TOKEN", "Engine", "Job", "LocalEngine", "ordered", "write_token"]

TOKEN = f"{TEMPORARY}token"
"""Name of the file that ``write_token`` writes; ``remove_leftovers`` removes it."""

Item = TypeVar("Item")
Item_contra = TypeVar("Item_contra", contravariant=True)
Result = TypeVar("Result")
Result_co = TypeVar("Result_co", covariant=True)


class Job(Protocol[Item_contra, Result_co]):
    """Work that each worker prepares once, such as loading a network, and does for many items.

    A job for a cluster must be picklable, and doing an item a second time must be harmless.
    """

    def __call__(self, threads: int, /) -> Callable[[Item_contra], Result_co]:
        """Prepare a worker.

        Args:
            threads: Number of threads that will call what is returned, at the same time.

        Returns:
            A function that does one item.
        """
        ...


class Engine(Protocol):
    """Does a job on many items; the results do not depend on the engine."""

    def run(
        self,
        job: Job[Item, Result],
        items: Iterable[Item],
        *,
        shared: Sequence[Path] = (),
        lost: Callable[[Item, str], Result] | None = None,
    ) -> Generator[tuple[int, Result], None, None]:
        """Yield (index, result) for each item, in the order in which they are finished.

        The number of items under way is bounded. If the caller closes the generator, or the job
        raises, what is under way is finished, and nothing else is begun.

        Args:
            job: What to do. An error of it is raised here.
            items: What to work on; taken one by one.
            shared: Files and folders that all workers must see.
            lost: Returns the result of an item whose workers died, and died again when it was
                tried once more, given the item and the reason. By default that is an error.

        Raises:
            FusionkitError: if a worker can't be prepared, or does not see what it must.
        """
        ...


class LocalEngine:
    """Works in threads of this process.

    Args:
        threads: Number of threads; by default one for each core, and at least two, so that one
            reads and writes while another computes.

    Example:
        >>> def job(threads):
        ...     return abs
        >>> sorted(LocalEngine().run(job, [-3, -1, 2]))
        [(0, 3), (1, 1), (2, 2)]
    """

    def __init__(self, threads: int | None = None):
        self._threads = threads or max(2, cores())

    def run(
        self,
        job: Job[Item, Result],
        items: Iterable[Item],
        *,
        shared: Sequence[Path] = (),
        lost: Callable[[Item, str], Result] | None = None,
    ) -> Generator[tuple[int, Result], None, None]:
        """Yield (index, result) for each item; see ``Engine``."""
        yield from in_parallel(job(self._threads), items, self._threads)


def ordered(results: Iterable[tuple[int, Result]]) -> Iterator[Result]:
    """Yield what ``Engine.run`` yields in the order of the items.

    What is finished before its turn waits in memory, so it is for small results.

    Args:
        results: (index, result), each index once.

    Example:
        >>> list(ordered([(1, "b"), (0, "a"), (2, "c")]))
        ['a', 'b', 'c']
    """
    waiting: dict[int, Result] = {}
    following = 0
    for index, result in results:
        waiting[index] = result
        while following in waiting:
            yield waiting.pop(following)
            following += 1


def write_token(folder: Path) -> Path:
    """Write a file of random content, to be shared with workers that will write to its folder.

    A worker that reads the same content sees the folder, and not one of the same name on its own
    disk.

    Args:
        folder: A folder that nobody else writes to.

    Returns:
        The file.

    Raises:
        WriteError: if it can't be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     first = write_token(Path(folder)).read_text()
        ...     first == write_token(Path(folder)).read_text()
        False
    """
    token = folder / TOKEN
    write_text(token, secrets.token_hex())
    return token
