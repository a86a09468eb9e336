"""Intervals and tests, against scipy and published values."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from fusionkit.benchmark.statistics import confidence_interval, holm, rank_methods, wilcoxon_p


def test_interval_is_that_of_scipy():
    values = [1.0, 4.0, 2.5, 7.0]
    expected = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert confidence_interval(values) == pytest.approx(expected)
    assert confidence_interval([1.0]) is None


def test_paired_test_needs_enough_differing_pairs():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=20), rng.normal(size=20)
    assert wilcoxon_p(list(one), list(other)) == pytest.approx(stats.wilcoxon(one, other).pvalue)
    assert wilcoxon_p([1, 2, 3, 4, 5], [2, 3, 4, 5, 6]) is None
    assert wilcoxon_p([1.0] * 9, [1.0] * 9) is None
    # six that all differ alike: the least p that six pairs can have
    assert wilcoxon_p([0.0] * 6, [1.0, 2, 3, 4, 5, 6]) == pytest.approx(2 / 2**6)


def test_holm_is_that_of_the_textbook():
    adjusted = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert adjusted == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})
    assert holm({}) == {}


def test_ranks_and_critical_difference_are_demsars():
    # Demsar 2006, page 13: four classifiers on 14 data sets, CD = 2.569 sqrt(4*5/(6*14)) = 1.25.
    rng = np.random.default_rng(1)
    values = {name: list(rng.normal(k, 1, 14)) for k, name in enumerate("abcd")}
    found = rank_methods(values, higher=True)
    assert found is not None
    assert found.difference == pytest.approx(1.25, abs=0.005)
    assert found.p == pytest.approx(stats.friedmanchisquare(*values.values()).pvalue)
    assert sum(found.ranks.values()) == pytest.approx(10)
    assert min(found.ranks, key=found.ranks.__getitem__) == "d"
    lower = rank_methods(values, higher=False)
    assert lower is not None
    assert min(lower.ranks, key=lower.ranks.__getitem__) == "a"


def test_ties_and_few_images_make_no_ranking():
    assert rank_methods({"a": [1.0] * 9, "b": [1.0] * 9, "c": [1.0] * 9}, higher=True) is None
    assert rank_methods({"a": [1.0] * 5, "b": [2.0] * 5, "c": [3.0] * 5}, higher=True) is None
    assert rank_methods({"a": [1.0] * 9, "b": [2.0] * 9}, higher=True) is None
