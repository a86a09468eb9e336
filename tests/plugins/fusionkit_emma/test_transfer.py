"""Items that another thread makes ahead: their order, their thread, their errors."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from fusionkit_emma.transfer import one_ahead


def test_the_next_item_is_made_while_one_is_used_and_the_first_by_the_caller():
    made: list[int] = []
    begun = threading.Event()

    def items() -> Iterator[int]:
        for number in range(4):
            made.append(threading.get_ident())
            if number == 1:
                begun.set()
            yield number

    ahead = one_ahead(items())
    assert next(ahead) == 0
    assert begun.wait(10)  # the second, without being asked for
    assert list(ahead) == [1, 2, 3]
    assert made[0] == threading.get_ident()
    assert threading.get_ident() not in made[1:]


def test_an_error_comes_where_its_item_would():
    def items() -> Iterator[int]:
        yield 0
        raise ValueError("no more")

    ahead = one_ahead(items())
    assert next(ahead) == 0
    with pytest.raises(ValueError, match="no more"):
        next(ahead)
    assert list(one_ahead(iter(()))) == []


def test_who_leaves_early_leaves_no_thread():
    before = threading.active_count()
    ahead = one_ahead(iter(range(100)))
    assert next(ahead) == 0
    ahead.close()
    assert threading.active_count() == before
