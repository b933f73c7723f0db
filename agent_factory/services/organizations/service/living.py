"""The life of an organisation: active, suspended, deleted (S210)."""

from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from agent_factory.api.access import at_rest
from agent_factory.database.models import OrganizationRow, UserRow
from agent_factory.database.session import Database, ReadSession, Session
from agent_factory.kit.clock import now
from agent_factory.security import rbac
from agent_factory.security.auth import Actor
from agent_factory.services.auth import service as auth
from agent_factory.services.organizations import errors
from agent_factory.services.organizations.queries import organizations as queries
from agent_factory.services.organizations.service.authority import acting

_ABSENT = "There is no such organisation, or it is not yours."


class Mine(msgspec.Struct, frozen=True):
    """An organisation, and the caller's membership in it."""

    organization: OrganizationRow
    membership: UserRow


async def mine(database: Database, actor: Actor) -> list[Mine]:
    """List the organisations in which the caller's account is an active member, newest first.

    A key or token that is for less than everything sees its own alone.
    """
    async with database.system() as session:
        memberships = {each.organization_id: each for each in await auth.memberships(session, actor)}
        if not rbac.may(actor, rbac.SELF):
            memberships = {i: each for i, each in memberships.items() if i == actor.organization_id}
        rows = await queries.organizations(session, list(memberships))
    return [Mine(row, memberships[row.id]) for row in rows]


async def get(database: Database, actor: Actor, organization_id: UUID) -> Mine:
    """Find one of the caller's organisations; any other is `OrganizationNotFound`."""
    for each in await mine(database, actor):
        if each.organization.id == organization_id:
            return each
    raise errors.OrganizationNotFound(_ABSENT)


def check_own(actor: Actor, organization_id: UUID) -> None:
    """Raise `OrganizationNotFound` for any organisation but the one that the caller acts in."""
    if organization_id != actor.organization_id:
        raise errors.OrganizationNotFound(_ABSENT)


async def check_active(session: ReadSession, organization_id: UUID) -> None:
    """Raise `OrganizationSuspended` or `OrganizationDeleted` where nothing is done for an organisation."""
    row = await queries.organization(session, organization_id)
    if row is not None and row.status != "active":
        raise at_rest(row.status)


async def rename(session: Session, actor: Actor, name: str) -> Mine:
    """Give the caller's organisation another name."""
    held = await _held(session, actor, "org:edit")
    held.organization.name = name
    return held


async def suspend(session: Session, actor: Actor) -> Mine:
    """Let nothing more begin in the organisation until it is resumed; doing it twice changes nothing."""
    held = await _held(session, actor, "org:suspend")
    row = held.organization
    if row.suspended_at is None:
        row.suspended_at, row.suspended_by = now(), actor.user_id
    return held


async def resume(session: Session, actor: Actor) -> Mine:
    """End a suspension; raises `NotSuspended` for the operator's own, which only he ends."""
    held = await _held(session, actor, "org:suspend")
    row = held.organization
    if row.deleted_at is not None:
        raise errors.NotSuspended("The organisation is deleted; restore it first.")
    if row.suspended_at is not None and row.suspended_by is None:
        raise errors.NotSuspended("The operator of this installation has suspended it; ask there.")
    row.suspended_at = row.suspended_by = None
    return held


async def delete(session: Session, actor: Actor) -> Mine:
    """Delete the organisation, which can be taken back for some time; doing it twice changes nothing."""
    held = await _held(session, actor, "org:delete")
    row = held.organization
    if row.deleted_at is None:
        row.deleted_at = now()
    return held


async def restore(session: Session, actor: Actor, grace: timedelta) -> Mine:
    """Take a deletion back; raises `NotSuspended` when it is too late. A suspension of before goes on."""
    held = await _held(session, actor, "org:delete")
    row = held.organization
    if row.deleted_at is not None and (row.purge_began_at is not None or row.deleted_at + grace <= now()):
        raise errors.NotSuspended("It was deleted too long ago.")
    row.deleted_at = None
    return held


def restorable_until(row: OrganizationRow, grace: timedelta) -> datetime | None:
    """Tell until when a deletion can be taken back; None where there is none, or its purge has begun."""
    return None if row.deleted_at is None or row.purge_began_at is not None else row.deleted_at + grace


async def _held(session: Session, actor: Actor, permission: str) -> Mine:
    caller = await acting(session, actor, permission)
    row = await queries.organization(session, actor.organization_id)
    assert row is not None, "it is held"
    return Mine(row, await auth.get_user(session, caller, caller.user_id))
