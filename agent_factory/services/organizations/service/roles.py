"""Roles: the built-in ones, and those that an organisation makes for itself."""

from collections.abc import Sequence

from agent_factory.database.models import RoleRow
from agent_factory.database.session import ReadSession, Session
from agent_factory.kit.clock import now
from agent_factory.kit.errors import FieldError, Invalid
from agent_factory.kit.ids import uuid7
from agent_factory.security import rbac
from agent_factory.security.auth import Actor
from agent_factory.services.auth import service as auth
from agent_factory.services.organizations import errors
from agent_factory.services.organizations.queries import roles as queries
from agent_factory.services.organizations.rules import MOST_ROLES, RESERVED, checked_rights
from agent_factory.services.organizations.service.authority import acting

_MANAGE = "org:roles"


async def rights_of_role(session: ReadSession, actor: Actor, name: str) -> frozenset[str]:
    """Give the rights of a role; raises `UnknownRole`."""
    built_in = rbac.ROLES.get(name)
    if built_in is not None:
        return built_in
    row = await queries.role(session, actor, name)
    if row is None:
        raise errors.UnknownRole(name)
    return frozenset(row.rights)


async def own_roles(session: ReadSession, actor: Actor) -> list[RoleRow]:
    """List the roles that the organisation made, by name."""
    return await queries.roles(session, actor)


async def get_role(session: ReadSession, actor: Actor, name: str) -> RoleRow:
    """Find a role of the organisation's own; raises `RoleNotFound`, or `RoleBuiltIn` for one of ours."""
    if name in rbac.ROLES:
        raise errors.RoleBuiltIn("Make a role of your own with the rights that you want.")
    row = await queries.role(session, actor, name)
    if row is None:
        raise errors.RoleNotFound("There is no such role in your organisation.")
    return row


async def create_role(session: Session, actor: Actor, *, name: str, description: str, rights: Sequence[str]) -> RoleRow:
    """Make a role; raises `UnknownRights`, `Denied` for rights that the caller lacks, or `Conflict`."""
    if name in RESERVED:
        raise Invalid("The name is reserved.", errors=[FieldError("/name", "is the name of a built-in role")])
    wanted = checked_rights(rights)
    caller = await acting(session, actor, _MANAGE)
    rbac.check_giving(caller, wanted)
    if await queries.count(session, caller) >= MOST_ROLES:
        raise errors.TooManyRoles(f"An organisation has at most {MOST_ROLES} roles of its own.")
    moment = now()
    row = RoleRow(
        id=uuid7(),
        organization_id=caller.organization_id,
        name=name,
        description=description,
        rights=wanted,
        created_at=moment,
        updated_at=moment,
    )
    await queries.add(session, row)
    return row


async def change_role_rights(
    session: Session, actor: Actor, name: str, *, description: str | None, rights: Sequence[str] | None
) -> RoleRow:
    """Change a role for everybody who has it; raises what `get_role` and `create_role` raise."""
    wanted = None if rights is None else checked_rights(rights)
    caller = await acting(session, actor, _MANAGE)
    row = await get_role(session, caller, name)
    if wanted is not None:
        rbac.check_over(caller, row.rights)
        rbac.check_giving(caller, wanted)
        row.rights = wanted
    if description is not None:
        row.description = description
    row.updated_at = now()
    return row


async def delete_role(session: Session, actor: Actor, name: str) -> None:
    """Delete a role that nobody has; raises `RoleInUse` beside what `get_role` raises."""
    caller = await acting(session, actor, _MANAGE)
    row = await get_role(session, caller, name)
    rbac.check_over(caller, row.rights)
    if await auth.role_in_use(session, caller, name) or await queries.promised(session, caller, name):
        raise errors.RoleInUse("Give everybody who has it another role first; invitations count as well.")
    await queries.remove(session, row)
