"""The memberships of people in organisations, for the room that manages them."""

from collections.abc import Collection
from uuid import UUID

from agent_factory.database.models import AccountRow, UserRow
from agent_factory.database.session import ReadSession, Session
from agent_factory.security.auth import Actor
from agent_factory.security.rbac import OWNERS
from agent_factory.services.auth.errors import UserNotFound
from agent_factory.services.auth.queries import memberships as queries
from agent_factory.services.auth.queries import rights
from agent_factory.services.auth.queries.rights import Standing


async def memberships(session: ReadSession, actor: Actor) -> list[UserRow]:
    """List the caller's active memberships of every organisation, in a system transaction."""
    return await queries.memberships(session, actor)


async def account_to_change(session: Session, actor: Actor) -> AccountRow | None:
    """Find the account that a caller is, in a system transaction, and hold it until that ends."""
    return await queries.account_to_change(session, actor)


async def held_member(session: Session, actor: Actor, user_id: UUID) -> UserRow:
    """Find a member and hold the row until the transaction ends; raises `UserNotFound`."""
    row = await queries.member_to_change(session, actor, user_id)
    if row is None:
        raise UserNotFound("There is no such person in your organisation.")
    return row


async def member_by_email(session: ReadSession, organization_id: UUID, email: str) -> UserRow | None:
    """Find the member with an address, in any spelling of it."""
    return await queries.member_by_email(session, organization_id, email)


async def members_by_ids(session: ReadSession, actor: Actor, ids: Collection[UUID]) -> dict[UUID, UserRow]:
    """Give some members of the organisation, by their ids."""
    return {row.id: row for row in await queries.members_by_ids(session, actor, ids)}


async def standing_of(session: ReadSession, user: UserRow) -> Standing:
    """Give what a member may do now."""
    return await rights.standing_of(session, user)


async def other_owners(session: ReadSession, actor: Actor, user_id: UUID) -> int:
    """Count the active owners beside one person."""
    return await queries.count_active(session, actor, OWNERS, without=user_id)


async def role_in_use(session: ReadSession, actor: Actor, role: str) -> bool:
    """Tell whether a member has a role."""
    return await queries.has_role(session, actor, role)


async def remove_member(session: Session, actor: Actor, row: UserRow) -> None:
    """End a membership for good, with its keys and sessions; what the person made stays."""
    await queries.remove(session, actor, row)
