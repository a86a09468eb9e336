"""The flicker measure against changes that are known."""

from __future__ import annotations

import numpy as np
import pytest

from fusionkit.errors import FusionkitError
from fusionkit.evaluation.flicker import measure_flicker

SIZE = (50, 70)


def flat(values: list[float]) -> list[np.ndarray]:
    return [np.full(SIZE, value) for value in values]


def test_an_oscillation_is_measured_and_a_change_of_a_source_is_not():
    moving = [{"a": a, "b": b} for a, b in zip(flat([0, 10, 0, 10]), flat([5] * 4), strict=True)]
    found = measure_flicker(flat([100, 118, 100, 118]), moving)
    assert found.whole == pytest.approx(8)
    assert found.local == pytest.approx(8)
    assert measure_flicker(flat([100, 110, 100, 91]), moving).whole == 0


def test_what_the_mean_hides_is_seen_in_blocks():
    first = np.zeros(SIZE)
    first[:, :35] = 40
    still = [{"a": np.zeros(SIZE)}] * 2
    found = measure_flicker([first, first[:, ::-1]], still)
    assert found.whole == 0
    # 8 blocks over 70 columns: the two in the middle hold both halves.
    assert found.local == pytest.approx(40, rel=0.05)


def test_frames_must_correspond():
    with pytest.raises(FusionkitError):
        measure_flicker(flat([1, 2, 3]), [{"a": np.zeros(SIZE)}] * 2)
    with pytest.raises(FusionkitError):
        measure_flicker(flat([1]), [{"a": np.zeros(SIZE)}])
