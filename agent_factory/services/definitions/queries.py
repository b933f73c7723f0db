"""Every statement over definitions and their versions, of whatever kind."""

from uuid import UUID

from sqlalchemy import Text, cast, select

from agent_factory.core.agent import AgentStatus
from agent_factory.database.base import owned_by
from agent_factory.database.models.definitions import Head, Version
from agent_factory.database.pages import newest
from agent_factory.database.session import ReadSession, Session
from agent_factory.kit.pages import Page
from agent_factory.security.auth import Actor
from agent_factory.services.definitions.rules import Named


async def head(session: ReadSession, actor: Actor, table: type[Head], head_id: UUID) -> Head | None:
    """Find one definition's head."""
    return (await session.scalars(owned_by(actor, table).where(table.id == head_id))).one_or_none()


async def head_to_change(session: Session, actor: Actor, table: type[Head], head_id: UUID) -> Head | None:
    """Find one definition's head and hold its row until the transaction ends."""
    query = owned_by(actor, table).where(table.id == head_id).with_for_update()
    return (await session.scalars(query)).one_or_none()


async def heads(
    session: ReadSession,
    actor: Actor,
    table: type[Head],
    *,
    limit: int,
    after: UUID | None,
    name: str | None,
    status: AgentStatus | None,
    only: frozenset[UUID] | None,
) -> Page[Head]:
    """List definitions, or `only` some, newest first; without a status, those that are not archived."""
    query = owned_by(actor, table)
    if only is not None:
        query = query.where(table.id.in_(only))
    if name is not None:
        query = query.where(table.name == name)
    query = query.where(table.status != AgentStatus.ARCHIVED if status is None else table.status == status)
    return await newest(session, query, table, limit, after)


async def version(
    session: ReadSession, actor: Actor, table: type[Version], head_id: UUID, number: int
) -> Version | None:
    """Find one version of a definition."""
    query = owned_by(actor, table).where(table.head_id == head_id, table.number == number)
    return (await session.scalars(query)).one_or_none()


async def versions(
    session: ReadSession, actor: Actor, table: type[Version], head_id: UUID, *, limit: int, after: UUID | None
) -> Page[Version]:
    """List a definition's versions, newest first."""
    query = owned_by(actor, table).where(table.head_id == head_id)
    return await newest(session, query, table, limit, after)


async def named(
    session: ReadSession, actor: Actor, table: type[Head], *, head_id: UUID | None, name: str
) -> Named | None:
    """Find a definition by id or, without one, by name; an archived one has given its name up."""
    query = select(table.id, table.name, table.status, table.latest_version, table.deployed_version).where(
        table.organization_id == actor.organization_id
    )
    if head_id is not None:
        query = query.where(table.id == head_id)
    else:
        query = query.where(table.name == name, table.status != AgentStatus.ARCHIVED)
    row = (await session.execute(query)).one_or_none()
    return None if row is None else Named(row[0], row[1], row[2], row[3], row[4])


async def definition_text(
    session: ReadSession, actor: Actor, table: type[Version], head_id: UUID, number: int
) -> str | None:
    """Read one version's definition as JSON text."""
    return await session.scalar(
        select(cast(table.definition, Text)).where(
            table.organization_id == actor.organization_id, table.head_id == head_id, table.number == number
        )
    )


async def add(session: Session, *rows: Head | Version) -> None:
    """Insert rows, in this order."""
    for row in rows:
        session.add(row)
        await session.flush()


async def save(session: Session, row: Head) -> None:
    """Write a head's changes now, so that what a constraint refuses is refused here."""
    await session.flush()
    await session.refresh(row)
