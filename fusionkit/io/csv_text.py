"""CSV text that spreadsheets show as it is, without taking a cell for a formula."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

__all__ = ["csv_text"]

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Return rows as CSV; floats with all digits, None as an empty cell.

    A text that a spreadsheet would take for a formula, such as ``=1+1``, gets an apostrophe before
    it (https://owasp.org/www-community/attacks/CSV_Injection). Bytes of a file name that are no
    UTF-8 are written as escapes.

    Example:
        >>> print(csv_text([["image", "EN"], ["=1+1", 6.5], ["-5", -0.5]]), end="")
        image,EN
        '=1+1,6.5
        -5,-0.5
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue().encode(errors="backslashreplace").decode()


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return repr(value)
    text = str(value)
    return f"'{text}" if text.startswith(_FORMULA) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
