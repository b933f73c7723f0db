"""HTTP for organisations and their life."""

from fastapi import Response

from agent_factory.api.access import needs
from agent_factory.api.dependencies import ActorDep, PlatformDep, Writer
from agent_factory.api.paging import PagingDep
from agent_factory.api.routing import router
from agent_factory.api.schemas import Act
from agent_factory.kit import ids
from agent_factory.kit.pages import page
from agent_factory.runtime.platform import Platform
from agent_factory.security.rbac import MEMBER, SELF
from agent_factory.services.organizations import service
from agent_factory.services.organizations.endpoints.paths import OrganizationPath, Own
from agent_factory.services.organizations.schemas import (
    OrganizationCreate,
    OrganizationOut,
    OrganizationPage,
    OrganizationPatch,
)
from agent_factory.services.organizations.service import Mine, restorable_until

organizations = router("/api/v1/organizations", "organizations")


@organizations.get("")
@needs(MEMBER, at_rest=True)
async def list_(actor: ActorDep, platform: PlatformDep, paging: PagingDep) -> OrganizationPage:
    """List the organisations in which the caller is a member, newest first; a narrowed key sees its own alone."""
    found = await service.mine(platform.database, actor)
    rows = [each for each in found if paging.after is None or each.organization.id < paging.after]
    last = rows[paging.limit - 1].organization.id if len(rows) > paging.limit else None
    cut = page(rows, paging.limit, last)
    return OrganizationPage(
        data=[_shown(each, platform) for each in cut.data], next_cursor=cut.next_cursor, has_more=cut.has_more
    )


@organizations.post("", status_code=201)
@needs(SELF)
async def create(
    actor: ActorDep, platform: PlatformDep, body: OrganizationCreate, response: Response
) -> OrganizationOut:
    """Found another organisation, whose owner is the caller; log in to it to act in it."""
    made = await service.found_another(platform, actor, body.name)
    response.headers["Location"] = f"/api/v1/organizations/{ids.encode('org', made.organization.id)}"
    return _shown(made, platform)


@organizations.get("/{organization_id}")
@needs(MEMBER, at_rest=True)
async def get(actor: ActorDep, platform: PlatformDep, organization_id: OrganizationPath) -> OrganizationOut:
    """Show one of the caller's organisations."""
    return _shown(await service.get(platform.database, actor, organization_id), platform)


@organizations.patch("/{organization_id}")
@needs("org:edit")
async def update(
    session: Writer, actor: ActorDep, platform: PlatformDep, _own: Own, body: OrganizationPatch
) -> OrganizationOut:
    """Rename the organisation."""
    return _shown(await service.rename(session, actor, body.name), platform)


@organizations.delete("/{organization_id}", status_code=204)
@needs("org:delete", at_rest=True)
async def delete(session: Writer, actor: ActorDep, _own: Own) -> None:
    """Delete the organisation; nothing is done for it from then on, and for some time it can be restored."""
    await service.delete(session, actor)


@organizations.post("/{organization_id}:restore")
@needs("org:delete", at_rest=True)
async def restore(
    session: Writer, actor: ActorDep, platform: PlatformDep, _own: Own, _body: Act | None = None
) -> OrganizationOut:
    """Take a deletion back."""
    return _shown(await service.restore(session, actor, platform.grace), platform)


@organizations.post("/{organization_id}:suspend")
@needs("org:suspend")
async def suspend(
    session: Writer, actor: ActorDep, platform: PlatformDep, _own: Own, _body: Act | None = None
) -> OrganizationOut:
    """Let nothing more begin in the organisation until it is resumed; runs at work go on to their end."""
    return _shown(await service.suspend(session, actor), platform)


@organizations.post("/{organization_id}:resume")
@needs("org:suspend", at_rest=True)
async def resume(
    session: Writer, actor: ActorDep, platform: PlatformDep, _own: Own, _body: Act | None = None
) -> OrganizationOut:
    """End a suspension."""
    return _shown(await service.resume(session, actor), platform)


@organizations.post("/{organization_id}:leave", status_code=204)
@needs(SELF, at_rest=True)
async def leave(session: Writer, actor: ActorDep, _own: Own, _body: Act | None = None) -> None:
    """End one's own membership, with its keys; the last owner cannot leave."""
    await service.leave(session, actor)


def _shown(mine: Mine, platform: Platform) -> OrganizationOut:
    row = mine.organization
    return OrganizationOut(
        id=row.id,
        name=row.name,
        domain=row.domain,
        plan=row.plan,
        status=row.status,
        restorable_until=restorable_until(row, platform.grace),
        user_id=mine.membership.id,
        role=mine.membership.role,
        created_at=row.created_at,
    )
