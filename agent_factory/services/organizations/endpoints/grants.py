"""HTTP for rights to single agents and workflows."""

from typing import Annotated

from fastapi import Query, Response

from agent_factory.api.access import needs
from agent_factory.api.dependencies import ActorDep, Reader, Writer
from agent_factory.api.paging import PagingDep
from agent_factory.api.routing import router
from agent_factory.kit import ids
from agent_factory.services.organizations import service
from agent_factory.services.organizations.endpoints.paths import GrantPath
from agent_factory.services.organizations.schemas import (
    AgentId,
    GrantCreate,
    GrantOut,
    GrantPage,
    GrantPatch,
    TeamId,
    UserId,
    WorkflowId,
)
from agent_factory.services.organizations.service import To, Wanted

grants = router("/api/v1/grants", "grants")


@grants.post("", status_code=201)
@needs("team:grant")
async def create(session: Writer, actor: ActorDep, body: GrantCreate, response: Response) -> GrantOut:
    """Give a person or a team rights to one agent or workflow; nobody gives more than he has."""
    to = To(user_id=body.user_id, team_id=body.team_id, agent_id=body.agent_id, workflow_id=body.workflow_id)
    row = await service.grant(session, actor, to, body.rights)
    response.headers["Location"] = f"/api/v1/grants/{ids.encode('gra', row.id)}"
    return GrantOut.model_validate(row)


@grants.get("")
@needs("team:grant")
async def list_(
    *,
    session: Reader,
    actor: ActorDep,
    paging: PagingDep,
    user_id: Annotated[UserId | None, Query()] = None,
    team_id: Annotated[TeamId | None, Query()] = None,
    agent_id: Annotated[AgentId | None, Query()] = None,
    workflow_id: Annotated[WorkflowId | None, Query()] = None,
) -> GrantPage:
    """List grants, newest first."""
    wanted = Wanted(user_id=user_id, team_id=team_id, agent_id=agent_id, workflow_id=workflow_id)
    return GrantPage.model_validate(await service.list_grants(session, actor, paging.limit, paging.after, wanted))


@grants.get("/{grant_id}")
@needs("team:grant")
async def get(session: Reader, actor: ActorDep, grant_id: GrantPath) -> GrantOut:
    """Show a grant."""
    return GrantOut.model_validate(await service.get_grant(session, actor, grant_id))


@grants.patch("/{grant_id}")
@needs("team:grant")
async def update(session: Writer, actor: ActorDep, grant_id: GrantPath, body: GrantPatch) -> GrantOut:
    """Give other rights by a grant."""
    return GrantOut.model_validate(await service.change_grant(session, actor, grant_id, body.rights))


@grants.delete("/{grant_id}", status_code=204)
@needs("team:grant")
async def revoke(session: Writer, actor: ActorDep, grant_id: GrantPath) -> None:
    """Take a grant back, within 5 seconds."""
    await service.revoke_grant(session, actor, grant_id)
