"""Keyset pages of rows, the newest first."""

from typing import TypeVar
from uuid import UUID

from sqlalchemy import Select

from agent_factory.database.base import Identified
from agent_factory.database.session import ReadSession
from agent_factory.kit.pages import Page, page

R = TypeVar("R", bound=Identified)


async def newest(session: ReadSession, query: Select[R], of: type[R], limit: int, after: UUID | None) -> Page[R]:
    """Read a page of a query for rows of one model, by their time-ordered ids: the first, or the one after a row."""
    if after is not None:
        query = query.where(of.id < after)
    rows = list(await session.scalars(query.order_by(of.id.desc()).limit(limit + 1)))
    return page(rows, limit, rows[limit - 1].id if len(rows) > limit else None)
