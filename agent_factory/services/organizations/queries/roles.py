"""Every statement over the roles that an organisation made for itself."""

from sqlalchemy import func, select

from agent_factory.database.base import owned_by
from agent_factory.database.models import InvitationRow, RoleRow, TeamMemberRow
from agent_factory.database.session import ReadSession, Session
from agent_factory.security.auth import Actor


async def role(session: ReadSession, actor: Actor, name: str) -> RoleRow | None:
    """Find one role by its name."""
    return (await session.scalars(owned_by(actor, RoleRow).where(RoleRow.name == name))).one_or_none()


async def roles(session: ReadSession, actor: Actor) -> list[RoleRow]:
    """List all of them by name."""
    return list(await session.scalars(owned_by(actor, RoleRow).order_by(RoleRow.name)))


async def count(session: ReadSession, actor: Actor) -> int:
    """Count them."""
    query = select(func.count()).where(RoleRow.organization_id == actor.organization_id)
    return await session.scalar(query) or 0


async def promised(session: ReadSession, actor: Actor, name: str) -> bool:
    """Tell whether somebody in a team has a role, or an open invitation promises it."""
    in_team = owned_by(actor, TeamMemberRow).where(TeamMemberRow.role == name).limit(1)
    invited = owned_by(actor, InvitationRow).where(
        InvitationRow.role == name, InvitationRow.accepted_at.is_(None), InvitationRow.revoked_at.is_(None)
    )
    return await session.scalar(in_team) is not None or await session.scalar(invited.limit(1)) is not None


async def add(session: Session, row: RoleRow) -> None:
    """Insert a role."""
    session.add(row)
    await session.flush()


async def remove(session: Session, row: RoleRow) -> None:
    """Delete a role."""
    await session.delete(row)
    await session.flush()
