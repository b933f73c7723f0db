"""Keyset pages: `?limit=&cursor=` in, `{data, next_cursor, has_more}` out."""

from typing import Annotated, Generic, TypeVar
from uuid import UUID

import msgspec
from fastapi import Depends, Query

from agent_factory.api.schemas import Output
from agent_factory.kit.pages import read_cursor

T = TypeVar("T")
_LONGEST_CURSOR = 64


class Paging(msgspec.Struct, frozen=True):
    """Which page: how many rows, and after which id."""

    limit: int
    after: UUID | None


async def _paging(
    limit: Annotated[int, Query(ge=1, le=100, description="Rows at most.")] = 20,
    cursor: Annotated[
        str | None, Query(max_length=_LONGEST_CURSOR, description="`next_cursor` of the page before.")
    ] = None,
) -> Paging:
    return Paging(limit, read_cursor(cursor))


PagingDep = Annotated[Paging, Depends(_paging)]


class PageOf(Output, Generic[T]):
    """One page, newest first; `next_cursor` leads to the next one."""

    data: list[T]
    next_cursor: str | None
    has_more: bool
