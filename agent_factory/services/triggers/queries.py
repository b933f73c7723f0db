"""Every statement over triggers."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import delete

from agent_factory.database.base import owned_by
from agent_factory.database.models import TriggerRow
from agent_factory.database.pages import newest
from agent_factory.database.pool import Pool
from agent_factory.database.session import ReadSession, Session
from agent_factory.kit.pages import Page
from agent_factory.security.auth import Actor

_WEBHOOK = """
select id, organization_id, workflow_id, created_by, key_id, config::text as config, secret, sealed_secret from triggers
where path = $1 and enabled and type = 'webhook'
"""

_HEARING = """
select id, organization_id, workflow_id, created_by, key_id, config::text as config, null as secret,
  null as sealed_secret
from triggers
where organization_id = $1 and event_type = any($2::text[]) and enabled and created_at <= $3
order by id
"""


class Found(msgspec.Struct, frozen=True):
    """A trigger that something has reached, of whatever organisation; `secret` is one from before they were sealed."""

    id: UUID
    organization_id: UUID
    workflow_id: UUID
    created_by: UUID | None
    key_id: UUID | None
    config: dict[str, Any]
    secret: bytes | None
    sealed_secret: bytes | None


async def trigger(session: ReadSession, actor: Actor, trigger_id: UUID) -> TriggerRow | None:
    """Find one trigger."""
    return (await session.scalars(owned_by(actor, TriggerRow).where(TriggerRow.id == trigger_id))).one_or_none()


async def trigger_to_change(session: Session, actor: Actor, trigger_id: UUID) -> TriggerRow | None:
    """Find one trigger and hold its row until the transaction ends."""
    query = owned_by(actor, TriggerRow).where(TriggerRow.id == trigger_id).with_for_update()
    return (await session.scalars(query)).one_or_none()


async def triggers(
    session: ReadSession,
    actor: Actor,
    limit: int,
    after: UUID | None,
    *,
    kind: str | None,
    workflow_id: UUID | None,
    only: frozenset[UUID] | None,
) -> Page[TriggerRow]:
    """List triggers, or only those of some workflows, newest first."""
    query = owned_by(actor, TriggerRow)
    if only is not None:
        query = query.where(TriggerRow.workflow_id.in_(only))
    if kind is not None:
        query = query.where(TriggerRow.type == kind)
    if workflow_id is not None:
        query = query.where(TriggerRow.workflow_id == workflow_id)
    return await newest(session, query, TriggerRow, limit, after)


async def add(session: Session, row: TriggerRow) -> None:
    """Insert a trigger."""
    session.add(row)
    await session.flush()


async def save(session: Session, row: TriggerRow) -> None:
    """Write a trigger's changes now, so that what a constraint refuses is refused here."""
    await session.flush()
    await session.refresh(row)


async def remove(session: Session, row: TriggerRow) -> None:
    """Delete a trigger; the runs that it started stay."""
    await session.delete(row)
    await session.flush()


async def remove_all(session: Session, actor: Actor, workflow_id: UUID) -> None:
    """Delete a workflow's triggers."""
    await session.execute(
        delete(TriggerRow).where(
            TriggerRow.organization_id == actor.organization_id, TriggerRow.workflow_id == workflow_id
        )
    )


async def webhook(pool: Pool, path: str) -> Found | None:
    """Find the webhook that listens at a path, whosever it is."""
    row = await pool.fetchrow(_WEBHOOK, path, again=True)
    return None if row is None else _found(row)


async def hearing(pool: Pool, organization_id: UUID, event_types: Sequence[str], at: datetime) -> list[Found]:
    """List the triggers of an organisation that listen to one of some types, and did so at a moment."""
    return [_found(row) for row in await pool.fetch(_HEARING, organization_id, list(event_types), at, again=True)]


def _found(row: Any) -> Found:  # noqa: ANN401 - a row of the driver
    config = msgspec.json.decode(row["config"], type=dict[str, Any])
    named = {name: row[name] for name in Found.__struct_fields__ if name != "config"}
    return Found(**named, config=config)
