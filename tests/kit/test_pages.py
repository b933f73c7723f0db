"""Pages and their cursors."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_factory.kit.errors import Invalid
from agent_factory.kit.ids import uuid7
from agent_factory.kit.pages import Page, page, read_cursor, write_cursor


@given(st.uuids())
def test_a_cursor_comes_back_as_it_was_and_fits_a_url(last: UUID) -> None:
    cursor = write_cursor(last)
    assert read_cursor(cursor) == last
    assert cursor.replace("-", "").replace("_", "").isalnum()


def test_no_cursor_is_the_first_page() -> None:
    assert read_cursor(None) is None


@pytest.mark.parametrize("cursor", ["", "x", "null", "0", "é", "A" * 21, "A" * 23, "A" * 100_000, "%00", "1' OR 1=1"])
def test_a_broken_cursor_is_refused_and_never_the_first_page(cursor: str) -> None:
    with pytest.raises(Invalid) as refused:
        read_cursor(cursor)
    assert [f.pointer for f in refused.value.errors] == ["/cursor"]


def test_a_row_more_than_asked_for_means_that_there_is_more() -> None:
    last = uuid7()
    assert page([1, 2, 3], 2, last) == Page([1, 2], write_cursor(last), has_more=True)
    assert page([1, 2], 2, last) == Page([1, 2], None, has_more=False)
    assert page([], 2, None) == Page([], None, has_more=False)


@given(st.integers(0, 30), st.integers(1, 10))
def test_following_the_cursors_meets_every_row_once(count: int, limit: int) -> None:
    rows = sorted((uuid7() for _ in range(count)), reverse=True)
    met: list[UUID] = []
    cursor = None
    while True:
        after = read_cursor(cursor)
        fetched = [row for row in rows if after is None or row < after][: limit + 1]
        found = page(fetched, limit, fetched[:limit][-1] if fetched else None)
        met += found.data
        cursor = found.next_cursor
        assert found.has_more == (cursor is not None)
        if not found.has_more:
            break
    assert met == rows
