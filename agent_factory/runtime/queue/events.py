"""Events of an organisation: told once, and brought to every run that waits for one."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
import structlog

from agent_factory.core.expressions import ExpressionFailed, ExpressionInvalid, compile_expression
from agent_factory.database.pool import Pool
from agent_factory.kit.ids import uuid7
from agent_factory.runtime.journal import to_json
from agent_factory.runtime.queue.statements import EVENT_WAITS, FIRE, HANDLED, TELL, TOLD, UNHANDLED

log = structlog.stdlib.get_logger(__name__)

_AT_ONCE = 100
"""Events that are brought round at a time."""


class Event(msgspec.Struct, frozen=True):
    """Something that happened."""

    id: UUID
    organization_id: UUID
    type: str
    data: Any
    source_run: UUID | None
    created_at: datetime


Subscriber = Callable[[Event], Awaitable[None]]
"""Hears of each event at least once, and twice only if a process died meanwhile: what it does has to be idempotent."""


async def tell(
    pool: Pool,
    organization_id: UUID,
    event_type: str,
    data: Any,  # noqa: ANN401 - any JSON value
    *,
    key: str | None = None,
    source_run: UUID | None = None,
) -> UUID:
    """Commit an event, once for each key of an organisation, and return its id."""
    made = uuid7()
    row = await pool.fetchrow(
        TELL, made, organization_id, event_type, to_json(data), key, source_run, again=key is not None
    )
    if row is not None:
        return row["id"]
    return await pool.fetchval(TOLD, organization_id, key, again=True)


async def bring(pool: Pool, subscribers: list[Subscriber]) -> int:
    """Bring events to the runs that wait for them and to the subscribers; gives how many there were.

    An event that a subscriber cannot take stays, and is brought again.
    """
    rows = await pool.fetch(UNHANDLED, _AT_ONCE, again=True)
    done: list[UUID] = []
    for row in rows:
        event = Event(
            row["id"],
            row["organization_id"],
            row["type"],
            msgspec.json.decode(row["data"] or "null"),
            row["source_run"],
            row["created_at"],
        )
        try:
            await fire(pool, event)
            for subscriber in subscribers:
                await subscriber(event)
        except Exception:
            log.exception("an event could not be brought round; that is tried again", event_id=str(event.id))
            continue
        done.append(event.id)
    if done:
        await pool.execute(HANDLED, done, again=True)
    return len(rows)


async def fire(pool: Pool, event: Event) -> int:
    """End the waits that an event meets; gives how many."""
    fired = 0
    waits = await pool.fetch(EVENT_WAITS, event.organization_id, event.type, event.created_at, again=True)
    for wait in waits:
        if not _meets(event, msgspec.json.decode(wait["data"])):
            continue
        result = to_json({"output": event.data})
        fired += await pool.fetchval(FIRE, wait["run_id"], event.organization_id, wait["path"], result)
    return fired


def _meets(event: Event, wanted: dict[str, Any]) -> bool:
    if not wanted.get("match"):
        return True
    try:
        return bool(compile_expression(wanted["match"])({**wanted.get("values", {}), "event": event.data}))
    except (ExpressionFailed, ExpressionInvalid):
        return False  # what a wait asks for is nothing that this event has
