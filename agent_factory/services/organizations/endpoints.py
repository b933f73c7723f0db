"""HTTP for organisations."""

from typing import Annotated
from uuid import UUID

from agent_factory.api.access import needs
from agent_factory.api.dependencies import ActorDep, Reader, Writer
from agent_factory.api.paging import PagingDep
from agent_factory.api.routing import router
from agent_factory.api.schemas import Id
from agent_factory.security.rbac import MEMBER
from agent_factory.services.organizations import service
from agent_factory.services.organizations.schemas import OrganizationOut, OrganizationPage, OrganizationPatch

organizations = router("/api/v1/organizations", "organizations")

OrganizationPath = Annotated[UUID, Id("org", in_path=True)]


@organizations.get("")
@needs(MEMBER)
async def list_(session: Reader, actor: ActorDep, paging: PagingDep) -> OrganizationPage:
    """List the organisations that the caller acts in, which is one."""
    only = OrganizationOut.model_validate(await service.get(session, actor, actor.organization_id))
    shown = [only] if paging.after is None or only.id < paging.after else []
    return OrganizationPage(data=shown, next_cursor=None, has_more=False)


@organizations.get("/{organization_id}")
@needs(MEMBER)
async def get(session: Reader, actor: ActorDep, organization_id: OrganizationPath) -> OrganizationOut:
    """Show the caller's organisation."""
    return OrganizationOut.model_validate(await service.get(session, actor, organization_id))


@organizations.patch("/{organization_id}")
@needs("org:edit")
async def update(
    session: Writer, actor: ActorDep, organization_id: OrganizationPath, body: OrganizationPatch
) -> OrganizationOut:
    """Rename the caller's organisation."""
    return OrganizationOut.model_validate(await service.rename(session, actor, organization_id, body.name))
