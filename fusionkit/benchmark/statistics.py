"""Confidence intervals, paired tests and critical differences between methods."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

__all__ = ["Ranking", "confidence_interval", "holm", "rank_methods", "wilcoxon_p"]


def confidence_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float] | None:
    """Return Student's confidence interval of the mean; None for fewer than two values.

    Example:
        >>> low, high = confidence_interval([1.0, 2.0, 3.0])
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


def wilcoxon_p(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Return the two-sided p value of Wilcoxon's signed-rank test of paired values.

    Returns:
        The p value, or None for fewer than six pairs that differ: then no outcome can reach
        p < 0.05.

    Example:
        >>> wilcoxon_p([0.0] * 6, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
        0.03125
    """
    differences = [a - b for a, b in zip(one, other, strict=True) if a != b]
    if len(differences) < 6:
        return None
    # The type of scipy's result is private, so the type checker does not know this attribute.
    return float(getattr(stats.wilcoxon(differences), "pvalue"))  # noqa: B009


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """Return the p values of several tests, adjusted by Holm's method.

    Example:
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
        ranks: Method -> mean rank; 1 is the best.
        difference: Nemenyi's critical difference at 5 %.
        p: p value of Friedman's test of whether all methods are alike.
        images: Number of images.
    """

    ranks: Mapping[str, float]
    difference: float
    p: float
    images: int


def rank_methods(values: Mapping[str, Sequence[float]], higher: bool) -> Ranking | None:
    """Rank methods image by image (Demsar, JMLR 2006).

    Args:
        values: Method -> value of each image; the same images in the same order for all methods.
        higher: Whether higher values are better.

    Returns:
        The ranking, or None for fewer than three methods or six images, or if all methods have
        the same values.

    Example:
        >>> values = {"a": [1.0] * 6, "b": [2.0] * 6, "c": [3.0] * 6}
        >>> rank_methods(values, higher=True).ranks
        {'a': 3.0, 'b': 2.0, 'c': 1.0}
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
