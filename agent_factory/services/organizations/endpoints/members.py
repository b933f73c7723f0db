"""HTTP for the people of an organisation."""

from agent_factory.api.access import needs
from agent_factory.api.dependencies import ActorDep, PlatformDep, Reader, Writer
from agent_factory.api.paging import PagingDep
from agent_factory.api.routing import router
from agent_factory.api.schemas import Act
from agent_factory.security.rbac import MEMBER
from agent_factory.services.auth import service as auth
from agent_factory.services.organizations import service
from agent_factory.services.organizations.endpoints.paths import Own, UserPath
from agent_factory.services.organizations.schemas import MemberOut, MemberPage, MemberPatch

members = router("/api/v1/organizations/{organization_id}/members", "members")


@members.get("")
@needs(MEMBER)
async def list_(session: Reader, actor: ActorDep, _own: Own, paging: PagingDep) -> MemberPage:
    """List the people of the organisation, newest first."""
    return MemberPage.model_validate(await auth.list_users(session, actor, paging.limit, paging.after))


@members.get("/{user_id}")
@needs(MEMBER)
async def get(session: Reader, actor: ActorDep, _own: Own, user_id: UserPath) -> MemberOut:
    """Show one person of the organisation."""
    return MemberOut.model_validate(await auth.get_user(session, actor, user_id))


@members.patch("/{user_id}")
@needs("user:manage")
async def update(session: Writer, actor: ActorDep, _own: Own, user_id: UserPath, body: MemberPatch) -> MemberOut:
    """Give a person another role: none with more rights than one's own, and to nobody who has more."""
    return MemberOut.model_validate(await service.change_role(session, actor, user_id, body.role))


@members.delete("/{user_id}", status_code=204)
@needs("user:manage")
async def remove(session: Writer, actor: ActorDep, _own: Own, user_id: UserPath) -> None:
    """End a person's membership, with keys, teams and grants; what the person made stays."""
    await service.remove(session, actor, user_id)


@members.post("/{user_id}:disable")
@needs("user:manage")
async def disable(
    session: Writer, actor: ActorDep, _own: Own, user_id: UserPath, _body: Act | None = None
) -> MemberOut:
    """Keep a person out, within 5 seconds, until enabled again."""
    return MemberOut.model_validate(await service.disable(session, actor, user_id))


@members.post("/{user_id}:enable")
@needs("user:manage")
async def enable(
    session: Writer, actor: ActorDep, platform: PlatformDep, _own: Own, user_id: UserPath, _body: Act | None = None
) -> MemberOut:
    """Let a disabled person in again."""
    return MemberOut.model_validate(await service.enable(platform, session, actor, user_id))
