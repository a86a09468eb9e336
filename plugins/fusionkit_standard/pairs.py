"""Which pairs a run is judged by."""

from __future__ import annotations

from collections.abc import Sequence

from fusionkit.interfaces import Dataset
from fusionkit.run import Run


def pairs_to_judge(run: Run, limit: int | None = None) -> tuple[Dataset, Sequence[int]]:
    """Return the data set and the indices of the pairs to fuse and to score.

    All pairs of ``test`` if the configuration names it, else the held-out pairs of ``data``.
    """
    if run.test is not None:
        dataset: Dataset = run.test
        indices: Sequence[int] = range(len(dataset))
    else:
        dataset = run.data
        indices = dataset.splits()["val"]
    return dataset, list(indices)[:limit]
