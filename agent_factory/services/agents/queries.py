"""Every statement over agents and their versions."""

from uuid import UUID

from sqlalchemy import Text, cast, select

from agent_factory.core.agent import AgentStatus
from agent_factory.database.base import owned_by
from agent_factory.database.models import AgentRow, AgentVersionRow
from agent_factory.database.session import ReadSession, Session
from agent_factory.security.auth import Actor


async def agent(session: ReadSession, actor: Actor, agent_id: UUID) -> AgentRow | None:
    """Find one agent."""
    return (await session.scalars(owned_by(actor, AgentRow).where(AgentRow.id == agent_id))).one_or_none()


async def agent_to_change(session: Session, actor: Actor, agent_id: UUID) -> AgentRow | None:
    """Find one agent and hold its row until the transaction ends."""
    query = owned_by(actor, AgentRow).where(AgentRow.id == agent_id).with_for_update()
    return (await session.scalars(query)).one_or_none()


async def agents(
    session: ReadSession,
    actor: Actor,
    limit: int,
    after: UUID | None,
    *,
    name: str | None,
    status: AgentStatus | None,
    only: frozenset[UUID] | None,
) -> list[AgentRow]:
    """List agents, or `only` some, newest first; without a status, those that are not archived."""
    query = owned_by(actor, AgentRow).order_by(AgentRow.id.desc()).limit(limit)
    if only is not None:
        query = query.where(AgentRow.id.in_(only))
    if after is not None:
        query = query.where(AgentRow.id < after)
    if name is not None:
        query = query.where(AgentRow.name == name)
    if status is None:
        query = query.where(AgentRow.status != AgentStatus.ARCHIVED)
    else:
        query = query.where(AgentRow.status == status)
    return list(await session.scalars(query))


async def version(session: ReadSession, actor: Actor, agent_id: UUID, number: int) -> AgentVersionRow | None:
    """Find one version of an agent."""
    query = owned_by(actor, AgentVersionRow).where(
        AgentVersionRow.agent_id == agent_id, AgentVersionRow.number == number
    )
    return (await session.scalars(query)).one_or_none()


async def versions(
    session: ReadSession, actor: Actor, agent_id: UUID, limit: int, after: UUID | None
) -> list[AgentVersionRow]:
    """List an agent's versions, newest first."""
    query = owned_by(actor, AgentVersionRow).where(AgentVersionRow.agent_id == agent_id)
    if after is not None:
        query = query.where(AgentVersionRow.id < after)
    return list(await session.scalars(query.order_by(AgentVersionRow.id.desc()).limit(limit)))


async def pinned(
    session: ReadSession, actor: Actor, *, agent_id: UUID | None, name: str | None
) -> tuple[UUID, str, int, int | None] | None:
    """Find an agent by id or by name: its id, status, newest and deployed version."""
    query = select(AgentRow.id, AgentRow.status, AgentRow.latest_version, AgentRow.deployed_version).where(
        AgentRow.organization_id == actor.organization_id
    )
    if agent_id is not None:
        query = query.where(AgentRow.id == agent_id)
    else:
        query = query.where(AgentRow.name == name, AgentRow.status != AgentStatus.ARCHIVED)
    row = (await session.execute(query)).one_or_none()
    return None if row is None else (row[0], row[1], row[2], row[3])


async def definition_text(session: ReadSession, actor: Actor, agent_id: UUID, number: int) -> str | None:
    """Read one version's definition as JSON text."""
    return await session.scalar(
        select(cast(AgentVersionRow.definition, Text)).where(
            AgentVersionRow.organization_id == actor.organization_id,
            AgentVersionRow.agent_id == agent_id,
            AgentVersionRow.number == number,
        )
    )


async def add(session: Session, *rows: AgentRow | AgentVersionRow) -> None:
    """Insert rows."""
    for row in rows:
        session.add(row)
        await session.flush()


async def save(session: Session, row: AgentRow) -> None:
    """Write an agent's changes now, so that what a constraint refuses is refused here."""
    await session.flush()
    await session.refresh(row)
