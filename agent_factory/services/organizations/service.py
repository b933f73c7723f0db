"""Organisations, and the first one of a new installation."""

from uuid import UUID

import msgspec

from agent_factory.database.models import OrganizationRow
from agent_factory.database.session import Database, ReadSession, Session
from agent_factory.kit.clock import now
from agent_factory.kit.ids import uuid7
from agent_factory.security.auth import Actor
from agent_factory.services.auth.service import add_user, issue_key
from agent_factory.services.organizations import queries
from agent_factory.services.organizations.errors import OrganizationNotFound


class Founded(msgspec.Struct, frozen=True):
    """A new organisation, its owner and the owner's key, whose `secret` is known only now."""

    organization_id: UUID
    user_id: UUID
    secret: str


async def bootstrap(database: Database, *, name: str = "Home", email: str = "owner@localhost") -> Founded | None:
    """Make the first organisation with an owner and a key; None if there is an organisation already.

    Safe to call from several processes at once: one of them makes it.
    """
    async with database.system() as session:
        if not await queries.lock_first_start(session):
            return None
        return await found(session, name=name, email=email)


async def found(session: Session, *, name: str, email: str) -> Founded:
    """Make an organisation with an owner and a key, in a system transaction."""
    row = OrganizationRow(id=uuid7(), name=name, created_at=now())
    await queries.add(session, row)
    owner = await add_user(session, row.id, email=email, name="Owner", role="organization_owner")
    key = await issue_key(session, owner, name="first key")
    return Founded(row.id, owner.id, key.secret)


async def get(session: ReadSession, actor: Actor, organization_id: UUID) -> OrganizationRow:
    """Find the caller's organisation; any other is `OrganizationNotFound`."""
    row = await queries.organization(session, organization_id) if organization_id == actor.organization_id else None
    if row is None:
        raise OrganizationNotFound("There is no such organisation, or it is not yours.")
    return row


async def rename(session: Session, actor: Actor, organization_id: UUID, name: str) -> OrganizationRow:
    """Give the caller's organisation another name."""
    row = await get(session, actor, organization_id)
    row.name = name
    return row
