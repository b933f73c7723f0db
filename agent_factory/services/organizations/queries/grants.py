"""Every statement over grants of single resources."""

from uuid import UUID

import msgspec
from sqlalchemy import func, or_, select
from sqlalchemy.dialects.postgresql import insert

from agent_factory.database.base import owned_by
from agent_factory.database.models import GrantRow
from agent_factory.database.pages import newest
from agent_factory.database.session import ReadSession, Session
from agent_factory.kit.pages import Page
from agent_factory.security.auth import Actor


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which grants are listed; what is None does not matter."""

    user_id: UUID | None = None
    team_id: UUID | None = None
    agent_id: UUID | None = None
    workflow_id: UUID | None = None


async def grant(session: ReadSession, actor: Actor, grant_id: UUID) -> GrantRow | None:
    """Find one grant."""
    return (await session.scalars(owned_by(actor, GrantRow).where(GrantRow.id == grant_id))).one_or_none()


async def grants(session: ReadSession, actor: Actor, limit: int, after: UUID | None, wanted: Wanted) -> Page[GrantRow]:
    """List grants, newest first."""
    query = owned_by(actor, GrantRow)
    for name, value in msgspec.structs.asdict(wanted).items():
        if value is not None:
            query = query.where(getattr(GrantRow, name) == value)
    return await newest(session, query, GrantRow, limit, after)


async def of_team(session: ReadSession, actor: Actor, team_id: UUID) -> list[GrantRow]:
    """List everything that a team was granted."""
    return list(await session.scalars(owned_by(actor, GrantRow).where(GrantRow.team_id == team_id)))


async def count(session: ReadSession, actor: Actor, receiver: UUID) -> int:
    """Count what a person or a team was granted."""
    query = select(func.count()).where(
        GrantRow.organization_id == actor.organization_id,
        or_(GrantRow.user_id == receiver, GrantRow.team_id == receiver),
    )
    return await session.scalar(query) or 0


async def add(session: Session, row: GrantRow) -> GrantRow | None:
    """Insert a grant; None where there is one of the same to the same already.

    An agent or workflow that is not there is a `Conflict`.
    """
    values = {c.key: getattr(row, c.key) for c in GrantRow.__table__.columns}
    statement = insert(GrantRow).values(values).on_conflict_do_nothing().returning(GrantRow)
    return (await session.scalars(statement)).one_or_none()


async def remove(session: Session, row: GrantRow) -> None:
    """Delete a grant."""
    await session.delete(row)
    await session.flush()
