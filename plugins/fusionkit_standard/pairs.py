"""Which pairs a run is judged by."""

from __future__ import annotations

from collections.abc import Sequence

from fusionkit.interfaces import Dataset, RunContext


def pairs_to_judge(run: RunContext, limit: int | None = None) -> tuple[Dataset, Sequence[int]]:
    """Return the data set and the indices of the pairs to fuse and to score.

    All pairs of ``test`` if the configuration names it, else the held-out pairs of ``data``.
    """
    if run.components.test is not None:
        dataset: Dataset = run.components.test
        indices: Sequence[int] = range(len(dataset))
    else:
        dataset = run.components.data
        indices = dataset.splits()["val"]
    return dataset, list(indices)[:limit]
