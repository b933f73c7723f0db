"""Organisations made: the first one of an installation, and those that people found."""

from uuid import UUID

import msgspec

from agent_factory.database.models import AccountRow, OrganizationRow, UserRow
from agent_factory.database.session import Database, Session
from agent_factory.kit import ids
from agent_factory.kit.clock import now
from agent_factory.kit.ids import uuid7
from agent_factory.runtime.platform import Platform
from agent_factory.security.audit import Event, record
from agent_factory.security.auth import Actor
from agent_factory.security.rbac import OWNERS
from agent_factory.services.auth import service as auth
from agent_factory.services.organizations import errors
from agent_factory.services.organizations.queries import organizations as queries
from agent_factory.services.organizations.rules import MOST_FOUNDED
from agent_factory.services.organizations.service.living import Mine


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
    """Make an organisation with an owner, an account for it and a key, in a system transaction.

    The account has no password yet; the key can set one.
    """
    account = await auth.create_account(session, email=email, password=None, name="Owner", verified=True)
    row, owner = await found_for(session, account, name)
    key = await auth.issue_key(session, owner, name="first key")
    return Founded(row.id, owner.id, key.secret)


async def found_for(session: Session, account: AccountRow, name: str) -> tuple[OrganizationRow, UserRow]:
    """Make an organisation whose owner is an account, in a system transaction."""
    row = OrganizationRow(id=uuid7(), name=name, created_at=now())
    await queries.add(session, row)
    owner = await auth.add_user(
        session, row.id, email=account.email, name=account.name, role="organization_owner", account_id=account.id
    )
    return row, owner


async def found_another(platform: Platform, actor: Actor, name: str) -> Mine:
    """Make one more organisation for the caller's account.

    Raises `AccountNeeded` for a caller who has none, or `TooManyOrganizations`.
    """
    async with platform.database.system() as session:
        account = await auth.account_to_change(session, actor)
        if account is None:
            raise errors.AccountNeeded("Only a person can lead an organisation.")
        led = [each for each in await auth.memberships(session, actor) if each.role in OWNERS]
        if len(led) >= MOST_FOUNDED:
            raise errors.TooManyOrganizations(f"One person leads at most {MOST_FOUNDED} organisations.")
        row, owner = await found_for(session, account, name)
        await record(session, _founded(row, owner))
    return Mine(row, owner)


def _founded(row: OrganizationRow, owner: UserRow) -> Event:
    return Event(
        action="organizations.founded",
        organization_id=row.id,
        user_id=owner.id,
        resource=ids.encode("org", row.id),
    )
