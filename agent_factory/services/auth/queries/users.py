"""Every statement over the people of an organisation."""

from uuid import UUID

from agent_factory.database.base import owned_by
from agent_factory.database.models import UserRow
from agent_factory.database.session import ReadSession, Session
from agent_factory.security.auth import Actor


async def user(session: ReadSession, actor: Actor, user_id: UUID) -> UserRow | None:
    """Find one user of the organisation."""
    return (await session.scalars(owned_by(actor, UserRow).where(UserRow.id == user_id))).one_or_none()


async def users(session: ReadSession, actor: Actor, limit: int, after: UUID | None) -> list[UserRow]:
    """List users, newest first."""
    query = owned_by(actor, UserRow).order_by(UserRow.id.desc()).limit(limit)
    if after is not None:
        query = query.where(UserRow.id < after)
    return list(await session.scalars(query))


async def add(session: Session, row: UserRow) -> None:
    """Insert a user."""
    session.add(row)
    await session.flush()
