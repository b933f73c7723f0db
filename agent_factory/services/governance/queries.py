"""Every statement over the audit trail as an organisation sees it."""

from datetime import datetime
from uuid import UUID

import msgspec
from sqlalchemy import Row, Select, or_, select

from agent_factory.database.models import AuditEventRow, AuditSealRow
from agent_factory.database.session import ReadSession
from agent_factory.security.auth import Actor

Seen = tuple[AuditEventRow, AuditSealRow | None]
"""An event, and its seal if it has one by now."""


class Filter(msgspec.Struct, frozen=True):
    """Which events are asked for; `actor` is a person or a key."""

    action: str | None = None
    actor: UUID | None = None
    resource: str | None = None
    outcome: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def _of(actor: Actor) -> Select[AuditEventRow, AuditSealRow]:
    return (
        select(AuditEventRow, AuditSealRow)
        .outerjoin(AuditSealRow, AuditSealRow.event_id == AuditEventRow.id)
        .where(AuditEventRow.organization_id == actor.organization_id)
    )


def _filtered(actor: Actor, wanted: Filter) -> Select[AuditEventRow, AuditSealRow]:
    query = _of(actor)
    for column, value in (
        (AuditEventRow.action, wanted.action),
        (AuditEventRow.resource, wanted.resource),
        (AuditEventRow.outcome, wanted.outcome),
    ):
        if value is not None:
            query = query.where(column == value)
    if wanted.actor is not None:
        query = query.where(or_(AuditEventRow.user_id == wanted.actor, AuditEventRow.key_id == wanted.actor))
    if wanted.since is not None:
        query = query.where(AuditEventRow.occurred_at >= wanted.since)
    if wanted.until is not None:
        query = query.where(AuditEventRow.occurred_at < wanted.until)
    return query


async def events(session: ReadSession, actor: Actor, wanted: Filter, limit: int, after: UUID | None) -> list[Seen]:
    """List events, newest first."""
    query = _filtered(actor, wanted).order_by(AuditEventRow.id.desc()).limit(limit)
    if after is not None:
        query = query.where(AuditEventRow.id < after)
    return [_seen(row) for row in await session.execute(query)]


async def events_onward(
    session: ReadSession, actor: Actor, wanted: Filter, limit: int, after: UUID | None
) -> list[Seen]:
    """List events, oldest first."""
    query = _filtered(actor, wanted).order_by(AuditEventRow.id).limit(limit)
    if after is not None:
        query = query.where(AuditEventRow.id > after)
    return [_seen(row) for row in await session.execute(query)]


async def event(session: ReadSession, actor: Actor, event_id: UUID) -> Seen | None:
    """Find one event."""
    row = (await session.execute(_of(actor).where(AuditEventRow.id == event_id))).one_or_none()
    return None if row is None else _seen(row)


def _seen(row: Row[AuditEventRow, AuditSealRow]) -> Seen:
    return row[0], row[1]
