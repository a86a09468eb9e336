"""Tables of a page."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Cell", "Row", "Table"]


@dataclass(frozen=True)
class Cell:
    """One value of a table.

    Attributes:
        text: The value.
        spread: Standard deviation, shown small after ``±``; empty for none.
        marks: CSS classes: ``best``, ``second``, ``differs``.
        hint: Text that appears when the pointer rests on the cell; empty for none.
    """

    text: str
    spread: str = ""
    marks: tuple[str, ...] = ()
    hint: str = ""


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        name: What the first column shows.
        cells: The other columns.
        highlighted: Whether the row has a coloured background.
    """

    name: str
    cells: tuple[Cell, ...]
    highlighted: bool = False


@dataclass(frozen=True)
class Table:
    """A table with a header.

    Attributes:
        columns: Header of each column, that of the names first.
        rows: The rows.
    """

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
