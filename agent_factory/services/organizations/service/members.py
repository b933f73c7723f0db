"""The people of an organisation: their roles, and the end of their membership."""

from uuid import UUID

from agent_factory.database.models import UserRow
from agent_factory.database.session import Session
from agent_factory.runtime.platform import Platform
from agent_factory.security import rbac
from agent_factory.security.auth import Actor
from agent_factory.services.auth import service as auth
from agent_factory.services.organizations import errors
from agent_factory.services.organizations.service.authority import acting, check_over, keep_an_owner
from agent_factory.services.organizations.service.roles import rights_of_role

_MANAGE = "user:manage"


async def change_role(session: Session, actor: Actor, user_id: UUID, role: str) -> UserRow:
    """Give a member another role.

    Raises `UserNotFound`, `ServiceHasNoRole`, `UnknownRole`, `LastOwner`, or `Denied` where the
    caller may not do all that the member may, before and after.
    """
    caller = await acting(session, actor, _MANAGE)
    row = await auth.held_member(session, caller, user_id)
    if row.kind == "service":
        raise errors.ServiceHasNoRole("What a service may do, the scopes of its keys say.")
    if role == row.role:
        return row
    await check_over(session, caller, row)
    rbac.check_giving(caller, await rights_of_role(session, caller, role))
    if role not in rbac.OWNERS:
        await keep_an_owner(session, caller, row)
    row.role = role
    return row


async def disable(session: Session, actor: Actor, user_id: UUID) -> UserRow:
    """Keep a member out until he is enabled; raises `UserNotFound`, `LastOwner` or `Denied`."""
    caller = await acting(session, actor, _MANAGE)
    row = await auth.held_member(session, caller, user_id)
    await check_over(session, caller, row)
    await keep_an_owner(session, caller, row)
    row.status = "disabled"
    return row


async def enable(platform: Platform, session: Session, actor: Actor, user_id: UUID) -> UserRow:
    """Let a disabled member in again; raises `UserNotFound`, `Denied`, or `QuotaExceeded` without a seat left."""
    caller = await acting(session, actor, _MANAGE)
    row = await auth.held_member(session, caller, user_id)
    await check_over(session, caller, row)
    if row.status != "active":
        await platform.engine.ledger.seats(session, row.organization_id)
    row.status = "active"
    return row


async def remove(session: Session, actor: Actor, user_id: UUID) -> None:
    """End a membership with its keys, teams and grants; raises `UserNotFound`, `LastOwner` or `Denied`."""
    caller = await acting(session, actor, _MANAGE)
    row = await auth.held_member(session, caller, user_id)
    await check_over(session, caller, row)
    await keep_an_owner(session, caller, row)
    await auth.remove_member(session, caller, row)


async def leave(session: Session, actor: Actor) -> None:
    """End the caller's own membership; raises `LastOwner`."""
    caller = await acting(session, actor, rbac.SELF)
    row = await auth.held_member(session, caller, caller.user_id)
    await keep_an_owner(session, caller, row)
    await auth.remove_member(session, caller, row)
