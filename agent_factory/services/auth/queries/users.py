"""Every statement over the people of an organisation."""

from uuid import UUID

from agent_factory.database.base import owned_by
from agent_factory.database.models import UserRow
from agent_factory.database.pages import newest
from agent_factory.database.session import ReadSession, Session
from agent_factory.kit.pages import Page
from agent_factory.security.auth import Actor


async def user(session: ReadSession, actor: Actor, user_id: UUID) -> UserRow | None:
    """Find one user of the organisation."""
    return (await session.scalars(owned_by(actor, UserRow).where(UserRow.id == user_id))).one_or_none()


async def users(session: ReadSession, actor: Actor, limit: int, after: UUID | None) -> Page[UserRow]:
    """List users, newest first."""
    return await newest(session, owned_by(actor, UserRow), UserRow, limit, after)


async def add(session: Session, row: UserRow) -> None:
    """Insert a user."""
    session.add(row)
    await session.flush()
