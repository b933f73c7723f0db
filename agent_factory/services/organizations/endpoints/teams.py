"""HTTP for teams."""

from fastapi import Response

from agent_factory.api.access import needs
from agent_factory.api.dependencies import ActorDep, Reader, Writer
from agent_factory.api.paging import PagingDep
from agent_factory.api.routing import router
from agent_factory.database.models import TeamMemberRow, UserRow
from agent_factory.kit import ids
from agent_factory.security.rbac import MEMBER
from agent_factory.services.organizations import service
from agent_factory.services.organizations.endpoints.paths import Own, TeamPath, UserPath
from agent_factory.services.organizations.schemas import (
    TeamCreate,
    TeamMemberOut,
    TeamMemberPage,
    TeamOut,
    TeamPage,
    TeamPatch,
    TeamPlace,
)

teams = router("/api/v1/organizations/{organization_id}/teams", "teams")


@teams.post("", status_code=201)
@needs("team:create")
async def create(
    session: Writer, actor: ActorDep, organization_id: Own, body: TeamCreate, response: Response
) -> TeamOut:
    """Make a team."""
    row = await service.create_team(session, actor, name=body.name, description=body.description)
    of = f"/api/v1/organizations/{ids.encode('org', organization_id)}"
    response.headers["Location"] = f"{of}/teams/{ids.encode('team', row.id)}"
    return TeamOut.model_validate(row)


@teams.get("")
@needs(MEMBER)
async def list_(session: Reader, actor: ActorDep, _own: Own, paging: PagingDep) -> TeamPage:
    """List teams, newest first."""
    return TeamPage.model_validate(await service.list_teams(session, actor, paging.limit, paging.after))


@teams.get("/{team_id}")
@needs(MEMBER)
async def get(session: Reader, actor: ActorDep, _own: Own, team_id: TeamPath) -> TeamOut:
    """Show a team."""
    return TeamOut.model_validate(await service.get_team(session, actor, team_id))


@teams.patch("/{team_id}")
@needs("team:edit")
async def update(session: Writer, actor: ActorDep, _own: Own, team_id: TeamPath, body: TeamPatch) -> TeamOut:
    """Rename or describe a team."""
    row = await service.change_team(session, actor, team_id, name=body.name, description=body.description)
    return TeamOut.model_validate(row)


@teams.delete("/{team_id}", status_code=204)
@needs("team:delete")
async def delete(session: Writer, actor: ActorDep, _own: Own, team_id: TeamPath) -> None:
    """Delete a team, with what its members could do by it."""
    await service.delete_team(session, actor, team_id)


@teams.get("/{team_id}/members")
@needs(MEMBER)
async def members_list(
    session: Reader, actor: ActorDep, _own: Own, team_id: TeamPath, paging: PagingDep
) -> TeamMemberPage:
    """List who is in a team, the newest people first."""
    found = await service.list_team(session, actor, team_id, paging.limit, paging.after)
    return TeamMemberPage(
        data=[_shown(*each) for each in found.data], next_cursor=found.next_cursor, has_more=found.has_more
    )


@teams.put("/{team_id}/members/{user_id}")
@needs("team:edit")
async def members_put(
    session: Writer, actor: ActorDep, _own: Own, team_id: TeamPath, user_id: UserPath, body: TeamPlace
) -> TeamMemberOut:
    """Take a person into a team, or give another role in it."""
    return _shown(*await service.put_in_team(session, actor, team_id, user_id, body.role))


@teams.delete("/{team_id}/members/{user_id}", status_code=204)
@needs("team:edit")
async def members_remove(session: Writer, actor: ActorDep, _own: Own, team_id: TeamPath, user_id: UserPath) -> None:
    """Take a person out of a team."""
    await service.take_from_team(session, actor, team_id, user_id)


def _shown(place: TeamMemberRow, user: UserRow) -> TeamMemberOut:
    return TeamMemberOut(
        user_id=user.id, email=user.email, name=user.name, role=place.role, created_at=place.created_at
    )
