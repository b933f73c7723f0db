"""Teams, and who is in them."""

from uuid import UUID

from agent_factory.database.models import TeamMemberRow, TeamRow, UserRow
from agent_factory.database.session import ReadSession, Session
from agent_factory.kit.clock import now
from agent_factory.kit.ids import uuid7
from agent_factory.kit.pages import Page, page
from agent_factory.security import rbac
from agent_factory.security.auth import Actor
from agent_factory.services.auth import service as auth
from agent_factory.services.organizations import errors
from agent_factory.services.organizations.queries import grants as grant_queries
from agent_factory.services.organizations.queries import teams as queries
from agent_factory.services.organizations.service.authority import acting
from agent_factory.services.organizations.service.roles import rights_of_role


async def get_team(session: ReadSession, actor: Actor, team_id: UUID) -> TeamRow:
    """Find a team; raises `TeamNotFound`."""
    row = await queries.team(session, actor, team_id)
    if row is None:
        raise errors.TeamNotFound("There is no such team in your organisation.")
    return row


async def list_teams(session: ReadSession, actor: Actor, limit: int, after: UUID | None) -> Page[TeamRow]:
    """List teams, newest first."""
    return await queries.teams(session, actor, limit, after)


async def create_team(session: Session, actor: Actor, *, name: str, description: str) -> TeamRow:
    """Make a team of nobody; raises `Conflict` for a name that is taken."""
    caller = await acting(session, actor, "team:create")
    moment = now()
    row = TeamRow(
        id=uuid7(),
        organization_id=caller.organization_id,
        name=name,
        description=description,
        created_at=moment,
        updated_at=moment,
    )
    await queries.add(session, row)
    return row


async def change_team(
    session: Session, actor: Actor, team_id: UUID, *, name: str | None, description: str | None
) -> TeamRow:
    """Rename or describe a team; raises `TeamNotFound`, or `Conflict` for a name that is taken."""
    row = await get_team(session, actor, team_id)
    row.name = row.name if name is None else name
    row.description = row.description if description is None else description
    row.updated_at = now()
    await queries.save(session, row)
    return row


async def delete_team(session: Session, actor: Actor, team_id: UUID) -> None:
    """Delete a team, with what its members could do by it; raises `TeamNotFound` or `Denied`."""
    caller = await acting(session, actor, "team:delete")
    row = await get_team(session, caller, team_id)
    for role in await queries.roles_in(session, caller, team_id):
        rbac.check_over(caller, await rights_of_role(session, caller, role))
    await _check_over_grants(session, caller, team_id)
    await queries.remove(session, row)


async def list_team(
    session: ReadSession, actor: Actor, team_id: UUID, limit: int, after: UUID | None
) -> Page[tuple[TeamMemberRow, UserRow]]:
    """List who is in a team; raises `TeamNotFound`."""
    await get_team(session, actor, team_id)
    rows = await queries.members(session, actor, team_id, limit + 1, after)
    people = await auth.members_by_ids(session, actor, [row.user_id for row in rows])
    found = [(row, people[row.user_id]) for row in rows]
    return page(found, limit, rows[limit - 1].user_id if len(rows) > limit else None)


async def put_in_team(
    session: Session, actor: Actor, team_id: UUID, user_id: UUID, role: str | None
) -> tuple[TeamMemberRow, UserRow]:
    """Take a member into a team, or give him another role in it.

    Raises `TeamNotFound`, `UserNotFound`, `UnknownRole`, or `Denied` where that
    would give him, by the role or by what the team was granted, what the
    caller lacks, or take away what the caller could not have given.
    """
    caller = await acting(session, actor, "team:edit")
    await get_team(session, caller, team_id)
    user = await auth.get_user(session, caller, user_id)
    row = await queries.member(session, caller, team_id, user_id)
    if row is not None and row.role is not None:
        rbac.check_over(caller, await rights_of_role(session, caller, row.role))
    if role is not None:
        rbac.check_giving(caller, await rights_of_role(session, caller, role))
    if row is not None:
        row.role = role
        await queries.save(session, row)
        return row, user
    for grant in await grant_queries.of_team(session, caller, team_id):
        rbac.check_giving(caller, grant.rights, grant.agent_id or grant.workflow_id)
    row = TeamMemberRow(
        organization_id=caller.organization_id, team_id=team_id, user_id=user_id, role=role, created_at=now()
    )
    await queries.add(session, row)
    return row, user


async def take_from_team(session: Session, actor: Actor, team_id: UUID, user_id: UUID) -> None:
    """Take a member out of a team; raises `TeamNotFound`, `TeamMemberNotFound` or `Denied`."""
    caller = await acting(session, actor, "team:edit")
    await get_team(session, caller, team_id)
    row = await queries.member(session, caller, team_id, user_id)
    if row is None:
        raise errors.TeamMemberNotFound("There is nobody of this id in the team.")
    if row.role is not None:
        rbac.check_over(caller, await rights_of_role(session, caller, row.role))
    await _check_over_grants(session, caller, team_id)
    await queries.remove(session, row)


async def _check_over_grants(session: ReadSession, caller: Actor, team_id: UUID) -> None:
    """Raise `Denied` where a caller would take away what the team was granted and he does not have."""
    for grant in await grant_queries.of_team(session, caller, team_id):
        rbac.check_over(caller, grant.rights, grant.agent_id or grant.workflow_id)
