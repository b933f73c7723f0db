"""HTTP for roles, and for the question who may do what."""

from typing import Annotated

from fastapi import Path, Response

from agent_factory.api.access import needs
from agent_factory.api.dependencies import ActorDep, Reader, Writer
from agent_factory.api.routing import router
from agent_factory.database.models import RoleRow
from agent_factory.security.rbac import MEMBER, ROLES, expand
from agent_factory.services.organizations import service
from agent_factory.services.organizations.schemas import (
    PermissionAnswer,
    PermissionAsk,
    RoleCreate,
    RoleOut,
    RolePage,
    RolePatch,
)

roles = router("/api/v1/roles", "roles")
permissions = router("/api/v1/permissions", "permissions")

RolePath = Annotated[str, Path(max_length=100, description="The name of a role.")]


@roles.get("")
@needs(MEMBER)
async def list_(session: Reader, actor: ActorDep) -> RolePage:
    """List every role that a person here can have: the built-in ones, then the organisation's own by name."""
    own = await service.own_roles(session, actor)
    data = [*(_built_in(name) for name in ROLES), *(_shown(row) for row in own)]
    return RolePage(data=data, next_cursor=None, has_more=False)


@roles.post("", status_code=201)
@needs("org:roles")
async def create(session: Writer, actor: ActorDep, body: RoleCreate, response: Response) -> RoleOut:
    """Make a role; nobody makes one with more rights than his own."""
    row = await service.create_role(session, actor, name=body.name, description=body.description, rights=body.rights)
    response.headers["Location"] = f"/api/v1/roles/{row.name}"
    return _shown(row)


@roles.get("/{role_name}")
@needs(MEMBER)
async def get(session: Reader, actor: ActorDep, role_name: RolePath) -> RoleOut:
    """Show a role."""
    if role_name in ROLES:
        return _built_in(role_name)
    return _shown(await service.get_role(session, actor, role_name))


@roles.patch("/{role_name}")
@needs("org:roles")
async def update(session: Writer, actor: ActorDep, role_name: RolePath, body: RolePatch) -> RoleOut:
    """Change a role of the organisation's own, for everybody who has it."""
    row = await service.change_role_rights(session, actor, role_name, description=body.description, rights=body.rights)
    return _shown(row)


@roles.delete("/{role_name}", status_code=204)
@needs("org:roles")
async def delete(session: Writer, actor: ActorDep, role_name: RolePath) -> None:
    """Delete a role of the organisation's own that nobody has."""
    await service.delete_role(session, actor, role_name)


@permissions.post(":check")
@needs(MEMBER, audited=False)
async def check(session: Reader, actor: ActorDep, body: PermissionAsk) -> PermissionAnswer:
    """Tell whether somebody may do something; of others, only those who manage people are told."""
    allowed = await service.check_permissions(session, actor, body.user_id, body.resource, body.action)
    return PermissionAnswer(allowed=allowed)


def _built_in(name: str) -> RoleOut:
    rights = ROLES[name]
    return RoleOut(name=name, description="", built_in=True, rights=sorted(rights), permissions=sorted(expand(rights)))


def _shown(row: RoleRow) -> RoleOut:
    return RoleOut(
        name=row.name,
        description=row.description,
        built_in=False,
        rights=row.rights,
        permissions=sorted(expand(row.rights)),
    )
