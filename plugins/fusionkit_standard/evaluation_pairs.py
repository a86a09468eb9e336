"""The pairs that a run fuses and scores after training."""

from __future__ import annotations

from collections.abc import Sequence

from fusionkit.interfaces import Dataset, RunContext

__all__ = ["select_evaluation_pairs"]


def select_evaluation_pairs(
    run: RunContext, limit: int | None = None
) -> tuple[Dataset, Sequence[int]]:
    """Return the data set and the indices of the pairs to fuse and to score.

    All pairs of ``test`` if the configuration names it, else the held-out pairs of ``data``.

    Args:
        run: The run.
        limit: Largest number of pairs.
    """
    if run.components.test is not None:
        dataset: Dataset = run.components.test
        indices: Sequence[int] = range(len(dataset))
    else:
        dataset = run.components.data
        indices = dataset.splits()["val"]
    return dataset, list(indices)[:limit]
