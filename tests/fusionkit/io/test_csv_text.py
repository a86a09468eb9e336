"""CSV cells that no spreadsheet takes for a formula."""

from __future__ import annotations

import csv
import io
import math

import pytest

from fusionkit.io.csv_text import csv_text


@pytest.mark.parametrize(
    "text", ["=1+1", "+1+1", "-1+cmd|' /C calc'!A0", "@SUM(1)", "\t=1", "\n=1"]
)
def test_formulas_become_text(text):
    rows = list(csv.reader(io.StringIO(csv_text([[text, 1]]), newline="\n")))
    assert rows == [["'" + text, "1"]]


def test_numbers_and_plain_text_stay():
    values = ["a", "a=1", "-5", "+1e-3", "", 'ü, "quoted"', 1, True]
    rows = list(csv.reader(io.StringIO(csv_text([[*values, -0.1, math.inf, None]]))))
    assert rows == [[*map(str, values), "-0.1", "inf", ""]]
