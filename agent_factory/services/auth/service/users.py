"""The people of an organisation."""

from uuid import UUID

from agent_factory.database.models import UserRow
from agent_factory.database.session import ReadSession, Session
from agent_factory.kit.ids import uuid7
from agent_factory.kit.pages import Page
from agent_factory.security.auth import Actor
from agent_factory.services.auth.errors import UserNotFound
from agent_factory.services.auth.queries import users as queries


async def add_user(
    session: Session, organization_id: UUID, *, email: str, name: str, role: str, account_id: UUID | None = None
) -> UserRow:
    """Make a user of an organisation: the membership of an account."""
    row = UserRow(id=uuid7(), organization_id=organization_id, account_id=account_id, email=email, name=name, role=role)
    await queries.add(session, row)
    return row


async def get_user(session: ReadSession, actor: Actor, user_id: UUID) -> UserRow:
    """Find a user; raises `UserNotFound`."""
    row = await queries.user(session, actor, user_id)
    if row is None:
        raise UserNotFound("There is no such user in your organisation.")
    return row


async def list_users(session: ReadSession, actor: Actor, limit: int, after: UUID | None) -> Page[UserRow]:
    """List the organisation's users, newest first."""
    return await queries.users(session, actor, limit, after)
