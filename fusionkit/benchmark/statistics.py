"""What a difference between methods is worth: intervals, paired tests, critical differences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

__all__ = ["Ranking", "holm", "interval", "paired", "ranking"]


def interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float] | None:
    """Return Student's confidence interval of the mean; None for fewer than two values.

    >>> low, high = interval([1.0, 2.0, 3.0])
    >>> round(low, 3), round(high, 3)
    (-0.484, 4.484)
    """
    n = len(values)
    if n < 2:
        return None
    mean = math.fsum(values) / n
    error = float(np.std(values, ddof=1)) / math.sqrt(n)
    reach = float(stats.t.ppf((1 + level) / 2, n - 1)) * error
    return mean - reach, mean + reach


def paired(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Return the two-sided p of Wilcoxon's signed-rank test; None where it can't be significant.

    With fewer than six differing pairs no outcome has p < 0.05, so no test is made.
    """
    differences = [a - b for a, b in zip(one, other, strict=True) if a != b]
    if len(differences) < 6:
        return None
    # Named only in the result's own, private, type.
    return float(getattr(stats.wilcoxon(differences), "pvalue"))  # noqa: B009


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """Return Holm's adjusted p values for several tests at once.

    >>> holm({"a": 0.01, "b": 0.04})
    {'a': 0.02, 'b': 0.04}
    """
    adjusted: dict[str, float] = {}
    least = 0.0
    for place, name in enumerate(sorted(p, key=p.__getitem__)):
        least = max(least, min(1.0, p[name] * (len(p) - place)))
        adjusted[name] = least
    return {name: adjusted[name] for name in p}


@dataclass(frozen=True)
class Ranking:
    """Mean ranks over images, and the difference that two of them must exceed.

    Attributes:
        ranks: Method -> mean rank, 1 is best.
        difference: Nemenyi's critical difference at 5 %.
        p: Of Friedman's test that all methods are alike.
        images: How many images.
    """

    ranks: Mapping[str, float]
    difference: float
    p: float
    images: int


def ranking(values: Mapping[str, Sequence[float]], higher: bool) -> Ranking | None:
    """Rank methods image by image (Demsar, JMLR 2006); None for under 3 methods or 6 images.

    Args:
        values: Method -> value of each image, the same images in the same order.
        higher: Whether higher is better.
    """
    table = np.array([values[name] for name in values], float)
    methods, images = table.shape
    if methods < 3 or images < 6 or (table == table[0]).all():
        return None
    ranks = stats.rankdata(-table if higher else table, axis=0).mean(axis=1)
    q = float(stats.studentized_range.ppf(0.95, methods, 1e6)) / math.sqrt(2)
    difference = q * math.sqrt(methods * (methods + 1) / (6 * images))
    p = float(stats.friedmanchisquare(*table).pvalue)
    return Ranking(
        {name: float(rank) for name, rank in zip(values, ranks, strict=True)}, difference, p, images
    )
