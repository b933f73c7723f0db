"""Every statement over teams and who is in them."""

from uuid import UUID

from sqlalchemy import select

from agent_factory.database.base import owned_by
from agent_factory.database.models import TeamMemberRow, TeamRow
from agent_factory.database.pages import newest
from agent_factory.database.session import ReadSession, Session
from agent_factory.kit.pages import Page
from agent_factory.security.auth import Actor


async def team(session: ReadSession, actor: Actor, team_id: UUID) -> TeamRow | None:
    """Find one team."""
    return (await session.scalars(owned_by(actor, TeamRow).where(TeamRow.id == team_id))).one_or_none()


async def teams(session: ReadSession, actor: Actor, limit: int, after: UUID | None) -> Page[TeamRow]:
    """List teams, newest first."""
    return await newest(session, owned_by(actor, TeamRow), TeamRow, limit, after)


async def member(session: ReadSession, actor: Actor, team_id: UUID, user_id: UUID) -> TeamMemberRow | None:
    """Find one place in a team."""
    query = owned_by(actor, TeamMemberRow).where(TeamMemberRow.team_id == team_id, TeamMemberRow.user_id == user_id)
    return (await session.scalars(query)).one_or_none()


async def members(
    session: ReadSession, actor: Actor, team_id: UUID, limit: int, after: UUID | None
) -> list[TeamMemberRow]:
    """List the places in a team, those of the newest people first."""
    query = owned_by(actor, TeamMemberRow).where(TeamMemberRow.team_id == team_id)
    if after is not None:
        query = query.where(TeamMemberRow.user_id < after)
    return list(await session.scalars(query.order_by(TeamMemberRow.user_id.desc()).limit(limit)))


async def roles_in(session: ReadSession, actor: Actor, team_id: UUID) -> list[str]:
    """Name the roles that people have in a team."""
    query = select(TeamMemberRow.role).where(
        TeamMemberRow.organization_id == actor.organization_id,
        TeamMemberRow.team_id == team_id,
        TeamMemberRow.role.is_not(None),
    )
    return [role for role in await session.scalars(query.distinct()) if role is not None]


async def add(session: Session, row: TeamRow | TeamMemberRow) -> None:
    """Insert a team, or a place in one."""
    session.add(row)
    await session.flush()


async def save(session: Session, row: TeamRow | TeamMemberRow) -> None:
    """Write changes now, so that what a constraint refuses is refused here."""
    await session.flush()
    await session.refresh(row)


async def remove(session: Session, row: TeamRow | TeamMemberRow) -> None:
    """Delete a team with its places and grants, or a place in one."""
    await session.delete(row)
    await session.flush()
