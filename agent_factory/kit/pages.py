"""Keyset pages over time-ordered ids."""

import base64
import binascii
from typing import Generic, TypeVar
from uuid import UUID

import msgspec

from agent_factory.kit.errors import FieldError, Invalid

T = TypeVar("T")


class Page(msgspec.Struct, Generic[T], frozen=True):
    """Some rows, newest first, and the opaque cursor of the next ones."""

    data: list[T]
    next_cursor: str | None
    has_more: bool


def write_cursor(last: UUID) -> str:
    """Make the opaque cursor that continues after the row with this id."""
    return base64.urlsafe_b64encode(last.bytes).decode().rstrip("=")


def read_cursor(cursor: str | None) -> UUID | None:
    """Read a cursor; a broken one is `Invalid`, so that nobody starts again at page one unseen."""
    if cursor is None:
        return None
    try:
        return UUID(bytes=base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, binascii.Error):
        raise Invalid(
            "The cursor is not one of ours; leave it out to start at the first page.",
            errors=[FieldError("/cursor", "not a cursor")],
        ) from None


def page(rows: list[T], limit: int, last: UUID | None) -> Page[T]:
    """Cut `limit + 1` fetched rows to a page; `last` is the id of its last row."""
    more = len(rows) > limit
    return Page(rows[:limit], write_cursor(last) if more and last else None, more)
