"""Every statement over API keys."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import or_, select, update

from agent_factory.database.base import owned_by
from agent_factory.database.models import ApiKeyRow, UserRow
from agent_factory.database.session import ReadSession, Session
from agent_factory.kit.clock import now
from agent_factory.security.auth import Actor


async def key_by_prefix(session: ReadSession, prefix: str) -> tuple[ApiKeyRow, UserRow] | None:
    """Find a key and its user, in whichever organisation."""
    found = await session.execute(
        select(ApiKeyRow, UserRow).join(UserRow, UserRow.id == ApiKeyRow.user_id).where(ApiKeyRow.prefix == prefix)
    )
    row = found.one_or_none()
    return None if row is None else (row[0], row[1])


async def touch_key(session: Session, key_id: UUID, every: timedelta) -> None:
    """Note that a key is in use, unless that was noted less than `every` ago."""
    stale = or_(ApiKeyRow.last_used_at.is_(None), ApiKeyRow.last_used_at < now() - every)
    await session.execute(update(ApiKeyRow).where(ApiKeyRow.id == key_id, stale).values(last_used_at=now()))


async def key(session: ReadSession, actor: Actor, key_id: UUID) -> ApiKeyRow | None:
    """Find one key of the organisation."""
    return (await session.scalars(owned_by(actor, ApiKeyRow).where(ApiKeyRow.id == key_id))).one_or_none()


async def keys(session: ReadSession, actor: Actor, limit: int, after: UUID | None) -> list[ApiKeyRow]:
    """List keys, newest first."""
    query = owned_by(actor, ApiKeyRow).order_by(ApiKeyRow.id.desc()).limit(limit)
    if after is not None:
        query = query.where(ApiKeyRow.id < after)
    return list(await session.scalars(query))


async def add(session: Session, row: ApiKeyRow) -> None:
    """Insert a key."""
    session.add(row)
    await session.flush()
